package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/donation-dedupe/noted/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// serveHeaders starts a server that refuses every call and puts the call's authorization
// into the error. With a certificate it speaks TLS.
func serveHeaders(t *testing.T, certificate *tls.Certificate) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	options := []grpc.ServerOption{grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		headers, _ := metadata.FromIncomingContext(stream.Context())
		return status.Error(codes.Unauthenticated, "authorization="+strings.Join(headers.Get("authorization"), "+"))
	})}
	if certificate != nil {
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(certificate)))
	}
	server := grpc.NewServer(options...)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// selfSigned makes a certificate for 127.0.0.1, and its PEM.
func selfSigned(t *testing.T) (*tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestTransport(t *testing.T) {
	certificate, ca := selfSigned(t)
	_, otherCA := selfSigned(t)
	encrypted, plain := serveHeaders(t, certificate), serveHeaders(t, nil)
	token := func(context.Context) (string, error) { return "abc", nil }
	for _, test := range []struct {
		name, addr string
		config     client.Config
		want       string // must be in the error of a call
	}{
		{"plaintext to this machine", plain, client.Config{}, "authorization="},
		{"token to this machine", plain, client.Config{Token: token}, "authorization=Bearer abc"},
		{
			"empty token", plain,
			client.Config{Token: func(context.Context) (string, error) { return "", nil }},
			"authorization=",
		},
		{
			"a token function that fails", plain,
			client.Config{Token: func(context.Context) (string, error) { return "", errors.New("vault is shut") }},
			"vault is shut",
		},
		{"CA and token", encrypted, client.Config{CA: ca, Token: token}, "authorization=Bearer abc"},
		{"TLS settings", encrypted, client.Config{TLS: &tls.Config{InsecureSkipVerify: true}}, "authorization="},
		{"another CA", encrypted, client.Config{CA: otherCA}, "certificate"},
		{"plaintext to TLS", encrypted, client.Config{}, "Unavailable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := dial(t, test.addr, test.config).Exists(t.Context(), series("I-1"), nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Exists: got %v; want an error with %q", err, test.want)
			}
			if test.want == "authorization=" && !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("Exists sent a token: %v", err)
			}
		})
	}
	for name, config := range map[string]client.Config{
		"plaintext beside a CA":          {Plaintext: true, CA: ca},
		"a malformed CA":                 {CA: []byte("none")},
		"a token in plaintext":           {Plaintext: true, Token: token},
		"a negative timeout":             {Timeout: -1},
		"a negative time for settlement": {SettleTimeout: -1},
	} {
		if noted, err := client.New("noted.example.org:50051", config); err == nil {
			noted.Close()
			t.Errorf("New made a client with %s; want an error", name)
		}
	}
}
