// Tykbridge-proxy is a reverse proxy that runs Tyk's plugins: requests that match an API definition go through its
// hooks to the upstream, and responses back.
//
//	tykbridge-proxy -apis apis -upstream http://127.0.0.1:8081
//
// SIGHUP loads the configuration again; with -watch, so does a change of its files. SIGINT and SIGTERM let the requests on their way finish.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	tykbridge "github.com/tykbridge/tykbridge/hosts/go"
)

var errUsage = errors.New("see the usage") // which was printed

func main() {
	err := run(context.Background(), os.Args[1:], os.Stderr)
	if errors.Is(err, errUsage) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tykbridge-proxy:", err)
		os.Exit(1)
	}
}

// run serves until it is told to stop, by a signal or by ctx.
func run(ctx context.Context, args []string, stderr io.Writer) error {
	var configuration tykbridge.Configuration
	var middleware tykbridge.Middleware
	flags := flag.NewFlagSet("tykbridge-proxy", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:8080", "listen on this `address`")
	upstream := flags.String("upstream", "", "send requests to this `URL`")
	drain := flags.Duration("drain", 30*time.Second, "when stopping, wait so long for requests on their way")
	maxCalls := flags.Int("max-calls", tykbridge.DefaultMaxCalls, "run hooks for so many requests at a time")
	flags.StringVar(&configuration.Source, "apis", "apis", "a folder of API definitions, or one `file`")
	flags.StringVar(&configuration.MiddlewarePath, "middleware", "", "the `folder` of bundles and hooks (default as in -conf, else middleware)")
	flags.StringVar(&configuration.Policies, "policies", "", "a `file` of policies")
	flags.StringVar(&configuration.Settings, "conf", "", "a tyk.conf: stores, downloads of bundles (docs/settings.md)")
	flags.BoolVar(&configuration.Strict, "strict", false, "fail requests whose session a hook may not change but did")
	flags.BoolVar(&configuration.Watch, "watch", false, "load the configuration again when its files change")
	flags.StringVar(&middleware.API, "api", "", "the `id` of the API of all requests; otherwise domain and path say it")
	flags.Int64Var(&middleware.BodyLimit, "body-limit", tykbridge.DefaultBodyLimit, "the largest body, in `bytes`")
	flags.BoolVar(&middleware.SkipResponses, "skip-responses", false, "stream responses, without response hooks")
	if err := flags.Parse(args); err != nil {
		return errUsage
	}
	target, err := url.Parse(*upstream)
	if err != nil || target.Host == "" || (target.Scheme != "http" && target.Scheme != "https") {
		return fmt.Errorf("-upstream %q is no http or https URL", *upstream)
	}
	if *maxCalls < 1 || flags.NArg() > 0 {
		return fmt.Errorf("-max-calls must be at least 1, and there are no arguments besides the flags")
	}
	tykbridge.SetMaxCalls(*maxCalls)
	logger := log.New(stderr, "", log.LstdFlags)
	middleware.ErrorLog = logger

	if err := tykbridge.Init(); err != nil {
		return err
	}
	problems, err := tykbridge.LoadConfiguration(configuration)
	if err != nil {
		return err
	}
	if problems != "" {
		logger.Printf("not in use:\n%s", problems)
	}

	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: middleware.Proxy(target), ErrorLog: logger,
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	logger.Printf("listening on %s", listener.Addr())
	for {
		select {
		case err := <-served:
			return err
		case <-again:
			if problems, err := tykbridge.Reload(); err != nil {
				logger.Printf("the configuration stays as it was: %v", err)
			} else if problems != "" {
				logger.Printf("the configuration was loaded again; not in use or as before:\n%s", problems)
			} else {
				logger.Print("the configuration was loaded again")
			}
		case <-ctx.Done():
			stop() // a second signal ends the process at once
			logger.Print("stopping")
			limited, cancel := context.WithTimeout(context.Background(), *drain)
			defer cancel()
			return server.Shutdown(limited)
		}
	}
}
