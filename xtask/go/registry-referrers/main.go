// A registry in memory that answers the Referrers API, for tests that must not
// use ours: go-containerregistry's, plain or with a given certificate. It
// prints the address it listens on and nothing else.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address; port 0 takes a free one")
	cert := flag.String("cert", "", "PEM certificate chain; with -key, serve HTTPS")
	key := flag.String("key", "", "PEM private key")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.SetOutput(io.Discard) // the library logs there by itself
	quiet := log.New(io.Discard, "", 0)
	handler := registry.New(registry.WithReferrersSupport(true), registry.Logger(quiet))
	server := &http.Server{Handler: handler, ErrorLog: quiet}
	fmt.Println(listener.Addr())
	if *cert != "" || *key != "" {
		err = server.ServeTLS(listener, *cert, *key)
	} else {
		err = server.Serve(listener)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
