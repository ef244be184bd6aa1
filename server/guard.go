package server

import (
	"crypto/tls"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// guard makes what stands between callers and the service: who they are, what they may, how much of it. It fails where a file cannot be taken up.
func (s *Server) guard() error {
	s.reloader = newReloader(s.logger, s.telemetry)
	s.underWay = newUnderWay(s.config.MaxInFlight, s.telemetry)
	s.connections = newConnections(s.config, s.telemetry)
	s.access = newAccess(s.config, s.telemetry)
	if s.config.TLSCert != "" {
		s.certificates = newCertificates(s.config, s.telemetry)
		if err := s.reloader.add(s.certificates.file()); err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
		s.reloader.also = append(s.reloader.also, s.certificates.warn)
	}
	if file := s.towardsStore.file; file != nil {
		if err := s.reloader.add(file); err != nil {
			return err
		}
		s.reloader.also = append(s.reloader.also, s.towardsStore.warn)
	}
	if s.config.Callers != "" {
		if err := s.reloader.add(s.access.file(s.config.Callers)); err != nil {
			return fmt.Errorf("-callers: %w", err)
		}
	}
	return nil
}

// Reload takes up new contents of the files of certificates and callers now, instead of within moments. What cannot be taken up is logged.
func (s *Server) Reload() { s.reloader.look() }

// credentials are those of the first door.
func (s *Server) credentials() credentials.TransportCredentials {
	if s.certificates == nil {
		return insecure.NewCredentials()
	}
	return handshakes{TransportCredentials: credentials.NewTLS(s.certificates.config("h2")), failed: s.certificates.failed}
}

// secured is the listener of the second door, which has no credentials of its own.
func (s *Server) secured(listener net.Listener) net.Listener {
	if s.certificates == nil {
		return listener
	}
	return tls.NewListener(listener, s.certificates.config("h2", "http/1.1"))
}

// httpErrors is where the second door tells what went wrong on its connections.
func (s *Server) httpErrors() *log.Logger {
	return log.New(serverErrors{s.certificates, s.telemetry.Floods}, "", 0)
}

// listen opens the listener of a door. It refuses to stand where strangers could call, or callers be overheard.
func (s *Server) listen(flag, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s %s: %w", flag, address, err)
	}
	if local, ok := listener.Addr().(*net.TCPAddr); !ok || !local.IP.IsLoopback() {
		missing := ""
		switch {
		case s.config.TLSCert == "" && s.config.Callers == "":
			missing = "there is no TLS (-tls-cert, -tls-key), and nobody says who may call (-callers or -tls-client-ca)"
		case s.config.TLSCert == "":
			missing = "there is no TLS, so tokens and donations could be read on the way (-tls-cert, -tls-key)"
		case s.config.Callers == "" && s.config.TLSClientCA == "":
			missing = "nobody says who may call (-callers or -tls-client-ca)"
		}
		if missing != "" && s.config.Insecure {
			s.logger.Warn("a door can be reached from other machines, and -insecure accepts that it is not safe", "door", flag, "listen", listener.Addr().String(), "why", missing)
		} else if missing != "" {
			listener.Close()
			return nil, fmt.Errorf("%w: %s %s can be reached from other machines, and %s; give what is missing, listen on 127.0.0.1, or accept it with -insecure",
				ErrConfig, flag, address, missing)
		}
	}
	return limited{Listener: listener, connections: s.connections}, nil
}
