// What the kubelet finds for images in docker configurations. It reads an array of questions, each
// the keys of a configuration and an image, and writes an array of answers: of each question the
// keys whose credentials the kubelet would try, in its order.
package main

import (
	"encoding/json"
	"log"
	"os"

	"k8s.io/kubernetes/pkg/credentialprovider"
)

type question struct {
	Keys  []string `json:"keys"`
	Image string   `json:"image"`
}

func main() {
	var questions []question
	if err := json.NewDecoder(os.Stdin).Decode(&questions); err != nil {
		log.Fatal(err)
	}
	answers := make([][]string, 0, len(questions))
	for _, asked := range questions {
		config := credentialprovider.DockerConfig{}
		for _, key := range asked.Keys {
			config[key] = credentialprovider.DockerConfigEntry{Username: key, Password: "password"}
		}
		keyring := credentialprovider.BasicDockerKeyring{}
		keyring.Add(nil, config)
		found, _ := keyring.Lookup(asked.Image)
		tried := make([]string, 0, len(found))
		for _, credentials := range found {
			tried = append(tried, credentials.Username)
		}
		answers = append(answers, tried)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		log.Fatal(err)
	}
}
