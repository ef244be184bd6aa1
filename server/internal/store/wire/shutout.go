package wire

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// The reasons for which Redis is there and Noted cannot use it, as metrics name them.
const (
	ByPassword    = "password"     // Redis rejects the user or password of -redis
	ByRights      = "rights"       // Noted's user lacks a right that Noted needs
	ByDatabase    = "database"     // Redis does not have the database that -redis names
	ByCertificate = "certificate"  // no TLS connection can be made
	ByMode        = "mode"         // it is of another kind than -redis-mode says
	ByReplicas    = "replicas"     // fewer replicas than -replicas asks for have the last beat
	ByWait        = "wait"         // it refuses WAIT, which -replicas needs
	ByMinReplicas = "min_replicas" // it takes no writes because it has too few replicas
)

// ShutOuts are all of these reasons.
var ShutOuts = []string{ByPassword, ByRights, ByDatabase, ByCertificate, ByMode, ByReplicas, ByWait, ByMinReplicas}

// shutOut is the failure of a Redis that only an operator can mend, so its text says how.
// The caller learns that the store is unavailable, and that nothing was done.
type shutOut struct {
	by   string
	text string
	also error // the refusal of a Redis that still may answer other questions; nil where it answers none
}

func (s *shutOut) Error() string { return s.text }

// Unwrap gives Redis's own refusal only if Redis may still answer other questions. A
// Redis that does not let Noted in answers nothing, and must not be asked with every
// call.
func (s *shutOut) Unwrap() []error {
	if s.by == ByMode {
		return []error{s.also}
	}
	if s.also == nil {
		return []error{ErrUnavailable}
	}
	return []error{ErrUnavailable, s.also}
}

// ShutOut tells which of ShutOuts a failure is; empty for other failures.
func ShutOut(err error) string {
	if s, ok := errors.AsType[*shutOut](err); ok {
		return s.by
	}
	return ""
}

// asShutOut explains an error of the client library; nil if it is no shut-out. Neither a
// reply of Redis nor the failure of a handshake repeats a password.
func asShutOut(err error) error {
	if s, ok := errors.AsType[*shutOut](err); ok { // from the dialer
		return s
	}
	switch {
	case badLogin(err):
		return &shutOut{
			by: ByPassword,
			text: fmt.Sprintf(
				"redis does not let Noted in (%v): mend the user and the password of -redis, or set them on Redis "+
					"(ACL SETUSER, requirepass)",
				err,
			),
		}
	case noRight(err) && strings.Contains(err.Error(), "'select'"): // no connection can be made
		return &shutOut{by: ByRights, text: fmt.Sprintf("redis does not let Noted's user choose a database (%v): "+
			"give it the rights that server/README.md has under \"Redis\" and +select (ACL SETUSER), "+
			"or leave the database out of -redis", err)}
	case err != nil && strings.Contains(err.Error(), "NOREPLICAS"):
		return &shutOut{
			by:   ByMinReplicas,
			also: err,
			text: fmt.Sprintf(
				"redis takes no writes because it has too few replicas (%v): bring its replicas back, or set a lower "+
					"min-replicas-to-write",
				err,
			),
		}
	case noRight(err):
		return &shutOut{
			by:   ByRights,
			also: err,
			text: fmt.Sprintf(
				"redis does not let Noted's user do what it must (%v): give it the rights that "+
					"server/README.md has under \"Redis\" (ACL SETUSER)",
				err,
			),
		}
	case badDatabase(err):
		return &shutOut{by: ByDatabase, text: fmt.Sprintf("redis does not have the database that -redis names (%v): "+
			"mend the database of -redis, the number after the last /, "+
			"or let Redis have more (databases in its redis.conf)", err)}
	case unknownCommand(err):
		return &shutOut{
			by:   ByRights,
			also: err,
			text: fmt.Sprintf(
				"redis does not know a command that Noted needs (%v): it was renamed or taken away (rename-command); "+
					"give it back, ask the provider for it, or name another Redis",
				err,
			),
		}
	case badHandshake(err):
		return &shutOut{
			by: ByCertificate,
			text: fmt.Sprintf(
				"no TLS connection to Redis can be made (%v): look at its certificate, which must be valid, for "+
					"the host that -redis names, and of a CA that this machine "+
					"trusts; a CA of your own is named by -redis-ca, or by SSL_CERT_FILE in the environment",
				err,
			),
		}
	}
	return nil
}

// badLogin tells that Redis refuses the user or password. Releases without users word it
// differently.
func badLogin(err error) bool {
	return redis.IsAuthError(err) || redis.HasErrorPrefix(err, "AUTH ") ||
		redis.HasErrorPrefix(err, "Client sent AUTH") ||
		redis.HasErrorPrefix(err, "invalid password")
}

// badDatabase tells that SELECT failed.
func badDatabase(err error) bool {
	return redis.HasErrorPrefix(err, "DB index is out of range") || redis.HasErrorPrefix(err, "invalid DB index") ||
		redis.HasErrorPrefix(err, "SELECT is not allowed")
}

// Unreplicated says what to do about a WAIT that was refused, or counted too few
// replicas.
func (c *Client) Unreplicated(err error) error {
	var refused redis.Error
	if errors.As(err, &refused) {
		return &shutOut{
			by:   ByWait,
			also: err,
			text: fmt.Sprintf(
				"redis refuses WAIT, without which -replicas notes nothing (%v): give Noted's user +wait (ACL "+
					"SETUSER); "+
					"where a provider refuses it, start without -replicas and ask the provider what a failover loses",
				refused,
			),
		}
	}
	return &shutOut{
		by:   ByReplicas,
		also: err,
		text: fmt.Sprintf(
			"fewer replicas than the %d of -replicas have what is written, so nothing can be noted (%v): bring "+
				"them back "+
				"(INFO replication on Redis shows them), or start with a lower -replicas",
			c.replicas,
			err,
		),
	}
}

// noRight tells that Redis's ACL refuses a command or key. Each release words it
// differently inside a script.
func noRight(err error) bool {
	var refused redis.Error
	return redis.IsPermissionError(err) || errors.As(err, &refused) &&
		(strings.Contains(err.Error(), "user executing the script can't") ||
			strings.Contains(err.Error(), "ACL failure in script"))
}

// unknownCommand tells that a command was renamed, or that a provider reserves it.
func unknownCommand(err error) bool {
	var refused redis.Error
	return errors.As(err, &refused) &&
		(redis.HasErrorPrefix(err, "unknown command") || strings.Contains(err.Error(), "Unknown Redis command "+
			"called from script"))
}

// badHandshake tells that a TLS handshake failed because of the two sides, not because of
// the network between them.
func badHandshake(err error) bool {
	var verification *tls.CertificateVerificationError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	return errors.As(err, &verification) || errors.As(err, &invalid) || errors.As(err, &alert) ||
		err != nil && strings.Contains(err.Error(), "remote error: tls: ")
}
