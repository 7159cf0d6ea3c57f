// otlp-collector is the OpenTelemetry Collector's own receiver of OTLP over HTTP, and nothing behind it:
// what it has read of traces it prints, a line of OTLP's JSON for each request. With the flags of TLS it
// wants a client's certificate.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
)

func main() {
	address := flag.String("address", "", "where it listens")
	certificate := flag.String("certificate", "", "its certificate, PEM")
	key := flag.String("key", "", "its key, PEM")
	clients := flag.String("clients", "", "who signs the certificates of clients, PEM")
	flag.Parse()
	if err := serve(*address, *certificate, *key, *clients); err != nil {
		log.Fatal(err)
	}
}

func serve(address, certificate, key, clients string) error {
	http := map[string]any{"endpoint": address}
	if certificate != "" {
		http["tls"] = map[string]any{
			"cert_file":      certificate,
			"key_file":       key,
			"client_ca_file": clients,
		}
	}
	factory := otlpreceiver.NewFactory()
	config := factory.CreateDefaultConfig()
	given := confmap.NewFromStringMap(map[string]any{"protocols": map[string]any{"http": http}})
	if err := given.Unmarshal(config); err != nil {
		return err
	}
	var printing sync.Mutex
	prints, err := consumer.NewTraces(func(_ context.Context, traces ptrace.Traces) error {
		text, err := (&ptrace.JSONMarshaler{}).MarshalTraces(traces)
		if err != nil {
			return err
		}
		printing.Lock()
		defer printing.Unlock()
		_, err = fmt.Println(string(text))
		return err
	})
	if err != nil {
		return err
	}
	ctx := context.Background()
	settings := receivertest.NewNopSettings(factory.Type())
	receiver, err := factory.CreateTraces(ctx, settings, config, prints)
	if err != nil {
		return err
	}
	if err := receiver.Start(ctx, componenttest.NewNopHost()); err != nil {
		return err
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	<-ended
	return receiver.Shutdown(ctx)
}
