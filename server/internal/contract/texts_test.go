package contract_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	notedv1 "github.com/donation-dedupe/noted/gen/go/noted/v1"
	"github.com/donation-dedupe/noted/server/servertest"
)

// Each call refuses each text of its request that is too long, or not ASCII, and names the
// field. Otherwise one field could be taken for another in the store's keys and lines.
func TestEveryTextIsChecked(t *testing.T) {
	conn := servertest.New(t).Conn()
	service := notedv1.File_noted_v1_noted_proto.Services().Get(0)
	checked := 0
	for i := range service.Methods().Len() {
		method := service.Methods().Get(i)
		if method.IsStreamingClient() { // NoteDonations; its requests are those of NoteDonation
			continue
		}
		for _, path := range texts(method.Input()) {
			for what, value := range map[string]string{"too long": strings.Repeat("a", 1000), "not ASCII": "ü"} {
				if field := path[len(path)-1]; field.Name() == "reason" && what == "not ASCII" {
					continue // the one text for a person
				}
				request := dynamicpb.NewMessage(method.Input())
				var name []string
				in := protoreflect.Message(request)
				for _, field := range path[:len(path)-1] {
					in, name = in.Mutable(field).Message(), append(name, string(field.Name()))
				}
				in.Set(path[len(path)-1], protoreflect.ValueOfString(value))
				field := strings.Join(append(name, string(path[len(path)-1].Name())), ".")
				err := conn.Invoke(
					t.Context(),
					"/"+string(service.FullName())+"/"+string(method.Name()),
					request,
					proto.Message(dynamicpb.NewMessage(method.Output())),
				)
				got := toldBy(err)
				if got.code != codes.InvalidArgument || !slices.Contains(strings.Fields(got.fields), field) {
					t.Errorf("%s with a %s that is %s: %+v, want it refused by a check that names the field",
						method.Name(), field, what, got)
				}
				checked++
			}
		}
	}
	if checked < 40 {
		t.Errorf("checked %d texts, want at least 40", checked)
	}
}

// texts are the ways to the texts of a message.
func texts(m protoreflect.MessageDescriptor) (paths [][]protoreflect.FieldDescriptor) {
	for i := range m.Fields().Len() {
		switch f := m.Fields().Get(i); f.Kind() {
		case protoreflect.StringKind:
			paths = append(paths, []protoreflect.FieldDescriptor{f})
		case protoreflect.MessageKind:
			for _, path := range texts(f.Message()) {
				paths = append(paths, append([]protoreflect.FieldDescriptor{f}, path...))
			}
		}
	}
	return paths
}
