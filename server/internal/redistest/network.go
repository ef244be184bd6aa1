package redistest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// A Place is where a server listens.
type Place struct {
	Host      string
	Namespace string // of the network; empty for the test's own
}

// Network is a set of places that reach each other through a router. A place can be cut
// off from the others, as if its cable were pulled: packets vanish. The test still
// reaches the place, unless that way is cut too.
type Network struct {
	tb     testing.TB
	id     string // no other network of this machine has it
	second int    // the second of the addresses' four numbers
	Places []Place
}

var networks atomic.Int32

// NewNetwork makes a network of n places. It needs root and iproute2; without either the
// error says why there is no network.
//
// # Design
//
// Each place is a network namespace with a link to the router, which is another
// namespace. A cut is two rules of the router, which no place notices. A link that is
// taken down would be noticed at once, unlike a cable that is pulled somewhere on the
// way.
func NewNetwork(tb testing.TB, n int) (*Network, error) {
	tb.Helper()
	count := int(networks.Add(1)) // no name is used twice, since a network is removed with a delay
	net := &Network{tb: tb, id: fmt.Sprintf("nt%dn%d", os.Getpid(), count), second: 64 + (os.Getpid()+count)%64}
	router := net.name("r")
	up := net.name("u")
	names := []string{router}
	script := []string{
		"ip netns add " + router,
		"ip -n " + router + " link set lo up",
		"ip netns exec " + router + " sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'",
		fmt.Sprintf("ip link add %s type veth peer name root netns %s", up, router),
		fmt.Sprintf("ip addr add %s.0.1/30 dev %s", net.prefix(), up),
		"ip link set " + up + " up",
		fmt.Sprintf("ip -n %s addr add %s.0.2/30 dev root", router, net.prefix()),
		"ip -n " + router + " link set root up",
		fmt.Sprintf("ip route add %[1]s.1.0/24 via %[1]s.0.2", net.prefix()),
	}
	for i := range n {
		p := Place{Host: fmt.Sprintf("%s.1.%d", net.prefix(), i+1), Namespace: net.name(fmt.Sprint(i + 1))}
		link := fmt.Sprint("to", i+1)
		script = append(script,
			"ip netns add "+p.Namespace,
			"ip -n "+p.Namespace+" link set lo up",
			fmt.Sprintf("ip link add router netns %s type veth peer name %s netns %s", p.Namespace, link, router),
			fmt.Sprintf("ip -n %s addr add %s/32 dev router", p.Namespace, p.Host),
			"ip -n "+p.Namespace+" link set router up",
			"ip -n "+router+" link set "+link+" up",
			fmt.Sprintf("ip netns exec %s sh -c 'echo 1 >/proc/sys/net/ipv4/conf/%s/proxy_arp'", router, link),
			// By default the router takes up to a second to answer for another place's
			// address. That is too late for cluster nodes that meet.
			fmt.Sprintf("ip netns exec %s sh -c 'echo 0 >/proc/sys/net/ipv4/neigh/%s/proxy_delay'", router, link),
			fmt.Sprintf("ip -n %s route add %s dev %s", router, p.Host, link),
			"ip -n "+p.Namespace+" route add default dev router")
		net.Places, names = append(net.Places, p), append(names, p.Namespace)
	}
	// The network ends with the test, however the test ends: this shell holds a pipe to
	// us.
	remove := "for n in " + strings.Join(names, " ") + "; do ip netns del $n; done"
	guard := exec.Command("sh", "-c", "read -r _; "+remove)
	pipe, err := guard.StdinPipe()
	if err == nil {
		err = guard.Start()
	}
	if err != nil {
		return nil, err
	}
	tb.Cleanup(func() {
		io.WriteString(pipe, "\n")
		guard.Wait()
	})
	if out, err := exec.Command("sh", "-ec", strings.Join(script, "\n")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("making a network: %w: %s", err, out)
	}
	return net, nil
}

func (n *Network) name(part string) string { return n.id + part }

// prefix is the first half of all addresses: one from 10.64 to 10.127.
func (n *Network) prefix() string { return fmt.Sprintf("10.%d", n.second) }

// Home is the address at which the places reach the test.
func (n *Network) Home() string { return n.prefix() + ".0.1" }

// Cut separates a place from all others.
func (n *Network) Cut(place Place) { n.tb.Helper(); n.rules("add", place, n.all()) }

// Heal reconnects it.
func (n *Network) Heal(place Place) { n.tb.Helper(); n.rules("del", place, n.all()) }

// CutFromHome separates a place from the test, and HealFromHome reconnects it.
func (n *Network) CutFromHome(place Place) { n.tb.Helper(); n.rules("add", place, n.Home()) }

// HealFromHome undoes CutFromHome.
func (n *Network) HealFromHome(place Place) { n.tb.Helper(); n.rules("del", place, n.Home()) }

func (n *Network) all() string { return n.prefix() + ".1.0/24" }

func (n *Network) rules(verb string, place Place, others string) {
	n.tb.Helper()
	for _, between := range [][2]string{{place.Host, others}, {others, place.Host}} {
		args := []string{
			"-n",
			n.name("r"),
			"rule",
			verb,
			"from",
			between[0],
			"to",
			between[1],
			"blackhole",
			"pref",
			"10",
		}
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			n.tb.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
}
