package metrics

import (
	"context"
	"strings"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/donation-dedupe/noted/server/internal/contract"
)

// Calls are the metrics that every gRPC server has, under the names that dashboards know.
// The middleware's own metrics look up five labels for each call, and one for each
// message of a stream. Here each method holds its counters.
type Calls struct {
	started, handled, received, sent *prometheus.CounterVec
	seconds                          *prometheus.HistogramVec

	methods map[string]*Method // by full name; complete before the first call
}

// A Method is one RPC, with what is counted of it.
type Method struct {
	started, received, sent prometheus.Counter
	seconds                 prometheus.Observer
	handled                 []prometheus.Counter // by code
}

func newCalls() *Calls {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	vec := func(name, help string, more ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append(labels, more...))
	}
	return &Calls{
		started:  vec("grpc_server_started_total", "Total number of RPCs started on the server."),
		received: vec("grpc_server_msg_received_total", "Total number of RPC stream messages received on the server."),
		sent:     vec("grpc_server_msg_sent_total", "Total number of gRPC stream messages sent by the server."),
		handled: vec("grpc_server_handled_total",
			"Total number of RPCs completed on the server, regardless of success or failure.", "grpc_code"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "grpc_server_handling_seconds",
			Help: "Histogram of response latency (seconds) of gRPC that had been application-level handled by the " +
				"server.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, labels),
		methods: map[string]*Method{},
	}
}

func (c *Calls) vecs() []prometheus.Collector {
	return []prometheus.Collector{c.started, c.handled, c.received, c.sent, c.seconds}
}

// Know makes the metrics of every method of a server, which start at 0. It comes before
// the first call.
func (c *Calls) Know(server reflection.ServiceInfoProvider) {
	for service, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			name := "/" + service + "/" + m.Name
			c.methods[name] = c.newMethod(name, m.IsClientStream, m.IsServerStream)
		}
	}
}

func (c *Calls) newMethod(fullName string, clientStream, serverStream bool) *Method {
	service, name, _ := strings.Cut(strings.TrimPrefix(fullName, "/"), "/")
	kind := string(interceptors.Unary)
	switch {
	case clientStream && serverStream:
		kind = string(interceptors.BidiStream)
	case clientStream:
		kind = string(interceptors.ClientStream)
	case serverStream:
		kind = string(interceptors.ServerStream)
	}
	m := &Method{
		started:  c.started.WithLabelValues(kind, service, name),
		received: c.received.WithLabelValues(kind, service, name),
		sent:     c.sent.WithLabelValues(kind, service, name),
		seconds:  c.seconds.WithLabelValues(kind, service, name),
	}
	for _, code := range interceptors.AllCodes { // in the order of their numbers
		m.handled = append(m.handled, c.handled.WithLabelValues(kind, service, name, code.String()))
	}
	return m
}

// end counts the end of a call.
func (m *Method) end(began time.Time, err error) {
	if code := int(codeOf(err)); code < len(m.handled) {
		m.handled[code].Inc()
	} else {
		m.handled[codes.Unknown].Inc()
	}
	m.seconds.Observe(time.Since(began).Seconds())
}

// codeOf is the code that gRPC gives a caller for an error.
func codeOf(err error) codes.Code {
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	return s.Code()
}

// A Call is a unary call that is being answered.
type Call struct {
	metrics *Metrics
	method  *Method
	began   time.Time
}

// Begin counts the begin of a unary call. Its end must follow.
func (m *Metrics) Begin(fullMethod string) Call {
	method := m.Calls.methods[fullMethod]
	if method == nil { // of a server that Know was not told of
		method = m.Calls.newMethod(fullMethod, false, false)
	}
	method.started.Inc()
	method.received.Inc()
	return Call{metrics: m, method: method, began: time.Now()}
}

// End counts the end of a call, and writes its line to the log.
func (c Call) End(ctx context.Context, request any, info *grpc.UnaryServerInfo, response any, err error) {
	if err != nil {
		c.metrics.Refused(info.FullMethod, err)
	}
	if !contract.IsHealth(info.FullMethod) { // every load balancer sends one every few seconds
		c.metrics.logUnary(ctx, request, info, response, err, c.began)
	}
	if err == nil {
		c.method.sent.Inc()
	}
	c.method.end(c.began, err)
}

// stream is the interceptor of streams that counts them and their messages, and writes a
// line to the log at the end of each.
func (m *Metrics) stream(
	server any,
	stream grpc.ServerStream,
	info *grpc.StreamServerInfo,
	handler grpc.StreamHandler,
) error {
	method := m.Calls.methods[info.FullMethod]
	if method == nil {
		method = m.Calls.newMethod(info.FullMethod, info.IsClientStream, info.IsServerStream)
	}
	began := time.Now()
	method.started.Inc()
	err := handler(server, countedStream{ServerStream: stream, method: method})
	if !contract.IsHealth(info.FullMethod) {
		m.logStream(server, stream, info, err, began)
	}
	method.end(began, err)
	return err
}

type countedStream struct {
	grpc.ServerStream
	method *Method
}

// SendMsg is of grpc.ServerStream, as is RecvMsg.
func (s countedStream) SendMsg(message any) error {
	err := s.ServerStream.SendMsg(message)
	if err == nil {
		s.method.sent.Inc()
	}
	return err
}

func (s countedStream) RecvMsg(message any) error {
	err := s.ServerStream.RecvMsg(message)
	if err == nil {
		s.method.received.Inc()
	}
	return err
}
