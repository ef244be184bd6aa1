package metrics

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// With TLS the peer has the certificate of the handshake, as over gRPC.
func TestPeerOfTLS(t *testing.T) {
	var got *peer.Peer
	server := httptest.NewTLSServer(
		http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = PeerOfRequest(r) }),
	)
	defer server.Close()
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	info, ok := got.AuthInfo.(credentials.TLSInfo)
	if !ok || !info.State.HandshakeComplete || info.SecurityLevel != credentials.PrivacyAndIntegrity {
		t.Errorf("the peer is %+v", got)
	}
	if err := credentials.CheckSecurityLevel(got.AuthInfo, credentials.PrivacyAndIntegrity); err != nil {
		t.Error(err)
	}
}
