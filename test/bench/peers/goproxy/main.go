// Goproxy as a proxy that sets a header: goproxy PORT FOLDER. BENCH_ROOT has the upstream's root, BENCH_TOKEN the token.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/elazarl/goproxy"
)

// leaves keeps the certificate of each host.
type leaves struct {
	mu    sync.Mutex
	known map[string]*tls.Certificate
}

func (l *leaves) Fetch(host string, make func() (*tls.Certificate, error)) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if leaf, ok := l.known[host]; ok {
		return leaf, nil
	}
	leaf, err := make()
	if err == nil {
		l.known[host] = leaf
	}
	return leaf, err
}

func main() {
	port, folder := os.Args[1], os.Args[2]
	authority, err := tls.LoadX509KeyPair(folder+"/ca.pem", folder+"/ca.key")
	if err != nil {
		log.Fatal(err)
	}
	if authority.Leaf, err = x509.ParseCertificate(authority.Certificate[0]); err != nil {
		log.Fatal(err)
	}
	goproxy.GoproxyCa = authority
	root, err := os.ReadFile(os.Getenv("BENCH_ROOT"))
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	value := "Bearer " + os.Getenv("BENCH_TOKEN")
	dialer := &net.Dialer{}
	proxy := goproxy.NewProxyHttpServer()
	proxy.CertStore = &leaves{known: map[string]*tls.Certificate{}}
	proxy.Tr = &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots},
		MaxIdleConnsPerHost: 1024,
		DisableCompression:  true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			// The bench's made-up hosts are on this machine.
			if host, port, err := net.SplitHostPort(address); err == nil && strings.HasSuffix(host, ".bench.test") {
				address = net.JoinHostPort("127.0.0.1", port)
			}
			return dialer.DialContext(ctx, network, address)
		},
	}
	proxy.OnRequest().HandleConnect(goproxy.AlwaysMitm)
	proxy.OnRequest().DoFunc(func(r *http.Request, _ *goproxy.ProxyCtx) (*http.Request, *http.Response) {
		r.Header.Set("Authorization", value)
		return r, nil
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, proxy))
}
