package server

import (
	"fmt"
	"net"

	"github.com/donation-dedupe/noted/server/internal/access"
	"github.com/donation-dedupe/noted/server/internal/limits"
)

// admission makes the parts between callers and the service, and reads their files for
// the first time.
func (s *Server) admission() (*access.Access, error) {
	s.reloader = access.NewReloader(s.logger, s.metrics)
	s.connections = limits.NewConnections(limits.Config{
		MaxConnections:           s.config.MaxConnections,
		MaxConnectionsPerAddress: s.config.MaxConnectionsPerAddress,
		Metrics:                  s.metrics,
	})
	config := access.Config{
		Certificates: s.config.TLSClientCA != "",
		Denials:      limits.NewDenials(s.config.Rate, s.config.Burst).Take,
		Audit:        s.audit,
		Metrics:      s.metrics,
	}
	if s.config.Rate > 0 {
		config.Rate = limits.NewRates(s.config.Rate, s.config.Burst).Take
	}
	admission := access.New(config)
	if s.config.TLSCert != "" {
		s.certificates = access.NewCertificates(access.CertificatesConfig{
			Cert:     s.config.TLSCert,
			Key:      s.config.TLSKey,
			ClientCA: s.config.TLSClientCA,
			Required: s.config.TLSClientCA != "" && s.config.Callers == "",
			Logger:   s.logger,
			Metrics:  s.metrics,
		})
		if err := s.reloader.Add(s.certificates.File(), s.certificates.Warn); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
	}
	if err := s.storeCertificates.Files(s.reloader); err != nil {
		return nil, err
	}
	if s.config.Callers != "" {
		if err := s.reloader.Add(admission.File(s.config.Callers)); err != nil {
			return nil, fmt.Errorf("-callers: %w", err)
		}
	}
	return admission, nil
}

// Reload takes up new contents of the files of certificates and callers at once, without
// waiting for the next look. It logs content that it refuses.
func (s *Server) Reload() { s.reloader.Look() }

// listen opens the listener of a door. It fails if strangers could call there, or if
// others could listen in on callers.
func (s *Server) listen(flag, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s %s: %w", flag, address, err)
	}
	if local, ok := listener.Addr().(*net.TCPAddr); !ok || !local.IP.IsLoopback() {
		missing := ""
		switch {
		case s.config.TLSCert == "" && s.config.Callers == "":
			missing = "there is no TLS (-tls-cert, -tls-key), " +
				"and callers are not identified (-callers or -tls-client-ca)"
		case s.config.TLSCert == "":
			missing = "there is no TLS, so tokens and donations could be read on the way (-tls-cert, -tls-key)"
		case s.config.Callers == "" && s.config.TLSClientCA == "":
			missing = "callers are not identified (-callers or -tls-client-ca)"
		}
		if missing != "" && s.config.Insecure {
			s.logger.Warn("a door can be reached from other machines, and -insecure accepts that it is not safe",
				"door", flag, "listen", listener.Addr().String(), "why", missing)
		} else if missing != "" {
			listener.Close()
			return nil, fmt.Errorf("%w: %s %s can be reached from other machines, and %s; "+
				"give what is missing, listen on 127.0.0.1, or accept it with -insecure",
				ErrConfig, flag, address, missing)
		}
	}
	return s.connections.Limit(listener), nil
}
