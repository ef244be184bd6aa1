package calls

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
)

// A method that Register forgets would be unknown to callers.
func TestRegister(t *testing.T) {
	ours, generated := grpc.NewServer(), grpc.NewServer()
	(&Service{}).Register(ours)
	notedv1.RegisterDedupeServiceServer(generated, &Service{})
	byName := cmpopts.SortSlices(func(a, b grpc.MethodInfo) bool { return a.Name < b.Name })
	if diff := cmp.Diff(generated.GetServiceInfo(), ours.GetServiceInfo(), byName); diff != "" {
		t.Errorf("Register differs from the contract:\n%s", diff)
	}
}
