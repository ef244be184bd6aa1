package client

import (
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// listScheme names the resolver of a list, which belongs to one client.
const listScheme = "noted-list"

// isList says whether target is a list of addresses and not a name. The path of a socket
// may have a comma.
func isList(target string) bool {
	return strings.Contains(target, ",") && !strings.Contains(target, "://") && !isSocket(target)
}

// listed resolves a list of addresses to those addresses. Each is also the name that its
// server's certificate must bear.
func listed(target string) (resolver.Builder, error) {
	var state resolver.State
	for address := range strings.SplitSeq(target, ",") {
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" ||
			strings.Contains(address, " ") {
			return nil, fmt.Errorf("address %q of the list: write it as host:port, without a space", address)
		}
		one := resolver.Address{Addr: address, ServerName: address}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{one}})
	}
	addresses := manual.NewBuilderWithScheme(listScheme)
	addresses.InitialState(state)
	return addresses, nil
}

// loopback says whether target is surely on this machine. An unknown form is not, and a
// list is if each of its addresses is.
func loopback(target string) bool {
	if isList(target) {
		for address := range strings.SplitSeq(target, ",") {
			if !loopback(address) {
				return false
			}
		}
		return true
	}
	if isSocket(target) {
		return true
	}
	address := strings.TrimPrefix(strings.TrimPrefix(target, "dns:///"), "passthrough:///")
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func isSocket(target string) bool {
	return strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "unix-abstract:")
}
