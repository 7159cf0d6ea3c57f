// A plugin of Notation for tests, over the framework of the Notary Project. What it is called says what it
// does: `notation-signer` signs so that a signature names another plugin; `notation-<can>-<does>` verifies:
// it can `identity`, `revocation` or `both`, and does what its last word says. TEST_NOTATION_PLUGIN is
// another name, which it has from the environment that it is left.
package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	_ "github.com/notaryproject/notation-core-go/signature/cose"
	_ "github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-plugin-framework-go/cli"
	"github.com/notaryproject/notation-plugin-framework-go/plugin"
)

const (
	named = "io.cncf.notary.verificationPlugin"
	least = "io.cncf.notary.verificationPluginMinVersion"
)

type tested struct{ can, does string }

func main() {
	name := strings.TrimPrefix(filepath.Base(os.Args[0]), "notation-")
	if given, ok := os.LookupEnv("TEST_NOTATION_PLUGIN"); ok {
		name = given
	}
	can, does, _ := strings.Cut(name, "-")
	if len(os.Args) == 2 && misbehaves(can, does, os.Args[1]) {
		return
	}
	program, err := cli.New(&tested{can, does})
	if err != nil {
		panic(err)
	}
	program.Execute(context.Background(), os.Args)
}

// misbehaves does what the framework does not let a plugin do.
func misbehaves(can, does, command string) bool {
	if plugin.Command(command) == plugin.CommandGetMetadata {
		switch does {
		case "unreadable":
			fmt.Print("{\"name\":")
			return true
		case "undescribed":
			fmt.Printf("{\"name\":\"%s-%s\",\"version\":\"1.0.0\",\"url\":\"u\"}", can, does)
			return true
		}
		return false
	}
	if plugin.Command(command) != plugin.CommandVerifySignature {
		return false
	}
	switch does {
	case "garbage":
		fmt.Print("it is fine")
	case "shouts":
		fmt.Fprint(os.Stderr, "no JSON at all")
		os.Exit(1)
	case "dies":
		os.Exit(3)
	case "floods":
		line := strings.Repeat("x", 1<<16)
		for {
			fmt.Print(line)
		}
	case "hangs":
		pid := []byte(fmt.Sprint(os.Getpid()))
		if err := os.WriteFile(os.Getenv("HOME")+"/hangs", pid, 0o600); err != nil {
			panic(err)
		}
		select {
		case <-time.After(time.Hour):
		}
	default:
		return false
	}
	return true
}

func (p *tested) GetMetadata(context.Context, *plugin.GetMetadataRequest) (*plugin.GetMetadataResponse, error) {
	metadata := &plugin.GetMetadataResponse{
		Name:                      p.can + "-" + p.does,
		Description:               "what tests need",
		Version:                   "1.2.3",
		URL:                       "https://example.com",
		SupportedContractVersions: []string{plugin.ContractVersion},
	}
	metadata.Name = strings.TrimSuffix(metadata.Name, "-")
	switch p.can {
	case "identity":
		metadata.Capabilities = []plugin.Capability{plugin.CapabilityTrustedIdentityVerifier}
	case "revocation":
		metadata.Capabilities = []plugin.Capability{plugin.CapabilityRevocationCheckVerifier}
	case "both":
		metadata.Capabilities = []plugin.Capability{plugin.CapabilityRevocationCheckVerifier, plugin.CapabilityTrustedIdentityVerifier}
	default:
		metadata.Capabilities = []plugin.Capability{plugin.CapabilityEnvelopeGenerator}
	}
	switch p.does {
	case "misnamed":
		metadata.Name = "somebody-else"
	case "unversioned":
		metadata.Version = "one"
	case "future":
		metadata.SupportedContractVersions = []string{"2.0", "3.0"}
	case "refuses":
		return nil, plugin.NewError(plugin.ErrorCodeAccessDenied, "nobody may ask")
	}
	return metadata, nil
}

func (p *tested) VerifySignature(_ context.Context, request *plugin.VerifySignatureRequest) (*plugin.VerifySignatureResponse, error) {
	if p.does == "throttled" {
		return nil, plugin.NewError(plugin.ErrorCodeThrottled, "too \"often\"")
	}
	result := &plugin.VerificationResult{Success: true}
	switch p.does {
	case "no":
		result = &plugin.VerificationResult{Reason: "for a \"reason\"\nof its own"}
	case "shows":
		// notation-go has them in any order.
		sort.Strings(request.Signature.UnprocessedAttributes)
		shown, err := json.Marshal(request)
		if err != nil {
			return nil, err
		}
		result = &plugin.VerificationResult{Reason: string(shown)}
	}
	response := &plugin.VerifySignatureResponse{VerificationResults: map[plugin.Capability]*plugin.VerificationResult{}}
	for _, capability := range request.TrustPolicy.SignatureVerification {
		if p.does != "silent" {
			response.VerificationResults[capability] = result
		}
	}
	for _, attribute := range request.Signature.UnprocessedAttributes {
		if p.does != "careless" {
			response.ProcessedAttributes = append(response.ProcessedAttributes, attribute)
		}
	}
	return response, nil
}

// GenerateEnvelope signs with the key in a folder. The configuration says which plugin is to be named, of
// which version at least, and which attributes are to be there besides.
func (p *tested) GenerateEnvelope(_ context.Context, request *plugin.GenerateEnvelopeRequest) (*plugin.GenerateEnvelopeResponse, error) {
	signer, err := signerOf(request.KeyID)
	if err != nil {
		return nil, err
	}
	attributes := []signature.Attribute{}
	for key, value := range request.PluginConfig {
		switch key {
		case "plugin":
			key = named
		case "least":
			key = least
		}
		attributes = append(attributes, signature.Attribute{Key: key, Critical: key != "optional", Value: value})
	}
	envelope, err := signature.NewEnvelope(request.SignatureEnvelopeType)
	if err != nil {
		return nil, err
	}
	signed, err := envelope.Sign(&signature.SignRequest{
		Payload:                  signature.Payload{ContentType: request.PayloadType, Content: request.Payload},
		Signer:                   signer,
		SigningTime:              time.Now(),
		ExtendedSignedAttributes: attributes,
		SigningScheme:            signature.SigningSchemeX509,
	})
	if err != nil {
		return nil, err
	}
	return &plugin.GenerateEnvelopeResponse{SignatureEnvelope: signed, SignatureEnvelopeType: request.SignatureEnvelopeType}, nil
}

func (p *tested) DescribeKey(context.Context, *plugin.DescribeKeyRequest) (*plugin.DescribeKeyResponse, error) {
	return nil, plugin.NewUnsupportedError("describe-key")
}

func (p *tested) GenerateSignature(context.Context, *plugin.GenerateSignatureRequest) (*plugin.GenerateSignatureResponse, error) {
	return nil, plugin.NewUnsupportedError("generate-signature")
}

func signerOf(folder string) (signature.Signer, error) {
	chain, err := os.ReadFile(filepath.Join(folder, "chain.pem"))
	if err != nil {
		return nil, err
	}
	var certificates []*x509.Certificate
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certificates = append(certificates, certificate)
	}
	text, err := os.ReadFile(filepath.Join(folder, "key.pem"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return signature.NewLocalSigner(certificates, key)
}
