// A verifier plugin for Ratify v1 in Go, as a plugin author writes one: the
// plugin skeleton of v1.4.0 and its oras store, which a plugin must link to
// run under a host whose store is oras.
package main

import (
	"encoding/json"

	"github.com/ratify-project/ratify/pkg/common"
	"github.com/ratify-project/ratify/pkg/ocispecs"
	"github.com/ratify-project/ratify/pkg/referrerstore"
	_ "github.com/ratify-project/ratify/pkg/referrerstore/oras"
	"github.com/ratify-project/ratify/pkg/verifier"
	"github.com/ratify-project/ratify/pkg/verifier/plugin/skel"
)

type input struct {
	Config struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"config"`
}

func main() {
	skel.PluginMain("sample", "1.0.0", verify, []string{"1.0.0"})
}

func verify(args *skel.CmdArgs, _ common.Reference, referrer ocispecs.ReferenceDescriptor, _ referrerstore.ReferrerStore) (*verifier.VerifierResult, error) {
	var given input
	if err := json.Unmarshal(args.StdinData, &given); err != nil {
		return nil, err
	}
	kind := given.Config.Type
	if kind == "" {
		kind = given.Config.Name
	}
	return &verifier.VerifierResult{
		Name:      given.Config.Name,
		Type:      kind,
		IsSuccess: referrer.Size > 0,
		Message:   "Sample verification success",
	}, nil
}
