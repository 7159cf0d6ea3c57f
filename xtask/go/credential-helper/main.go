// A credential helper of docker, by docker's own library of helpers: what it is given to store is
// in a file below its home directory, and what it is asked for it finds there.
package main

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/docker/docker-credential-helpers/credentials"
)

type file string

func main() {
	credentials.Serve(file(filepath.Join(os.Getenv("HOME"), "kept-by-helper.json")))
}

func (f file) Add(added *credentials.Credentials) error {
	return f.change(func(kept map[string]credentials.Credentials) {
		kept[added.ServerURL] = *added
	})
}

func (f file) Delete(serverURL string) error {
	return f.change(func(kept map[string]credentials.Credentials) {
		delete(kept, serverURL)
	})
}

func (f file) Get(serverURL string) (string, string, error) {
	kept, err := f.read()
	if err != nil {
		return "", "", err
	}
	found, ok := kept[serverURL]
	if !ok {
		return "", "", credentials.NewErrCredentialsNotFound()
	}
	return found.Username, found.Secret, nil
}

func (f file) List() (map[string]string, error) {
	kept, err := f.read()
	users := make(map[string]string, len(kept))
	for serverURL, found := range kept {
		users[serverURL] = found.Username
	}
	return users, err
}

func (f file) read() (map[string]credentials.Credentials, error) {
	kept := map[string]credentials.Credentials{}
	bytes, err := os.ReadFile(string(f))
	if os.IsNotExist(err) {
		return kept, nil
	}
	if err != nil {
		return nil, err
	}
	return kept, json.Unmarshal(bytes, &kept)
}

func (f file) change(by func(map[string]credentials.Credentials)) error {
	kept, err := f.read()
	if err != nil {
		return err
	}
	by(kept)
	bytes, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	return os.WriteFile(string(f), bytes, 0o600)
}
