package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// remote is the sender's address of a message, for the log and the traces. Behind trusted
// proxies it is the last address that a trusted proxy wrote and that is not itself a
// trusted proxy. The sender may have made up the addresses before it.
//
// Proxies write X-Forwarded-For or Forwarded, and some pass the other header on as the
// sender wrote it. If both headers exist and disagree, remote returns the proxy's own
// address.
func (g *Gateway) remote(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr // a socket of the file system
	}
	direct := peer.Addr().Unmap()
	if !g.trusted(direct) {
		return direct.String()
	}
	var found []netip.Addr
	for _, way := range [][]string{
		elements(r.Header["X-Forwarded-For"]), forwardedFor(elements(r.Header["Forwarded"])),
	} {
		if len(way) > 0 {
			found = append(found, g.lastUntrusted(way, direct))
		}
	}
	if len(found) == 0 || len(found) == 2 && found[0] != found[1] {
		return direct.String()
	}
	return found[0].String()
}

func (g *Gateway) trusted(address netip.Addr) bool {
	return slices.ContainsFunc(g.config.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(address) })
}

// lastUntrusted goes from the nearest proxy outwards, and stops at the first address that
// is not a trusted proxy. If a proxy hides the address before it, the proxy's address is
// the last known address.
func (g *Gateway) lastUntrusted(way []string, direct netip.Addr) netip.Addr {
	last := direct
	for _, text := range slices.Backward(way) {
		address, ok := readAddress(text)
		if !ok {
			return last
		}
		if last = address; !g.trusted(address) {
			return last
		}
	}
	return last
}

// elements are the parts of a header that commas separate, over all its lines.
func elements(lines []string) (all []string) {
	for _, line := range lines {
		for element := range strings.SplitSeq(line, ",") {
			all = append(all, strings.TrimSpace(element))
		}
	}
	return all
}

// forwardedFor are the addresses in the elements of Forwarded (RFC 7239). An element
// without an address counts as unreadable.
func forwardedFor(elements []string) (all []string) {
	for _, element := range elements {
		address := ""
		for pair := range strings.SplitSeq(element, ";") {
			if name, value, _ := strings.Cut(strings.TrimSpace(pair), "="); strings.EqualFold(name, "for") {
				address = strings.Trim(value, `"`)
			}
		}
		all = append(all, address)
	}
	return all
}

// readAddress reads an address, with or without a port, and with or without brackets.
func readAddress(text string) (netip.Addr, bool) {
	if both, err := netip.ParseAddrPort(text); err == nil {
		return both.Addr().Unmap(), true
	}
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return address.Unmap().WithZone(""), err == nil
}
