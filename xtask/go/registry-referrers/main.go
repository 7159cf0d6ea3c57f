// A registry in memory that answers the Referrers API, for tests that must not
// use ours: go-containerregistry's, plain or with a given certificate. It
// prints the address it listens on and nothing else. It counts what is read
// from it, can refuse what is more than so much a second, as public registries
// do, and can be slow.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// door stands before the registry. What is pushed passes uncounted.
type door struct {
	registry http.Handler
	rate     float64 // 0: everything is served
	delay    time.Duration

	mutex   sync.Mutex
	tokens  float64
	filled  time.Time
	served  int
	refused int
	content map[string]int // reads of what a digest names
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/counts":
		d.mutex.Lock()
		defer d.mutex.Unlock()
		most := 0
		for _, reads := range d.content {
			most = max(most, reads)
		}
		fmt.Fprintf(w, `{"served":%d,"refused":%d,"most":%d}`, d.served, d.refused, most)
	case r.Method != http.MethodGet && r.Method != http.MethodHead, !strings.HasPrefix(r.URL.Path, "/v2/"):
		d.registry.ServeHTTP(w, r)
	case d.admits(r):
		time.Sleep(d.delay)
		d.registry.ServeHTTP(w, r)
	default:
		w.Header().Set("Retry-After", "1")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(w, `{"errors":[{"code":"TOOMANYREQUESTS","message":"too many requests"}]}`)
	}
}

// admits takes a token out of a bucket that holds a second's worth.
func (d *door) admits(r *http.Request) bool {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	now := time.Now()
	d.tokens = min(d.tokens+now.Sub(d.filled).Seconds()*d.rate, d.rate)
	d.filled = now
	if d.rate > 0 && d.tokens < 1 {
		d.refused++
		return false
	}
	d.tokens--
	d.served++
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/sha256:") && !strings.Contains(r.URL.Path, "/referrers/") {
		d.content[r.URL.Path]++
	}
	return true
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address; port 0 takes a free one")
	cert := flag.String("cert", "", "PEM certificate chain; with -key, serve HTTPS")
	key := flag.String("key", "", "PEM private key")
	rate := flag.Float64("requests-per-second", 0, "serve so many reads a second, and answer the others with 429; 0 serves all")
	delay := flag.Duration("delay", 0, "wait so long before each read")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.SetOutput(io.Discard) // the library logs there by itself
	quiet := log.New(io.Discard, "", 0)
	handler := registry.New(registry.WithReferrersSupport(true), registry.Logger(quiet))
	handler = &door{registry: handler, rate: *rate, delay: *delay, tokens: *rate, filled: time.Now(), content: map[string]int{}}
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
