package desk

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// A Role is a set of permissions. Each role includes those before it.
type Role int

// The roles. A Looker asks where a donation is. A Clerk also sees everything that waits
// for a person, and acts on it. An Admin also sees the audit.
const (
	Nobody Role = iota
	Looker
	Clerk
	Admin
)

var roleNames = []string{"", "looker", "clerk", "admin"}

func (r Role) String() string { return roleNames[r] }

// ParseRole reads the name of a role.
func ParseRole(name string) (Role, error) {
	for role, known := range roleNames {
		if role > 0 && name == known {
			return Role(role), nil
		}
	}
	return Nobody, fmt.Errorf("%q is not a role; use looker, clerk or admin", name)
}

// A user is a line of the file of users: NAME:ROLE:HASH. The HASH "-" is for people who
// come only through an authenticating proxy.
type user struct {
	name string
	role Role
	hash string
}

// mark changes with the user's line, which ends sessions with an older mark.
func (u user) mark() string {
	sum := sha256.Sum256([]byte(u.name + ":" + u.role.String() + ":" + u.hash))
	return hex.EncodeToString(sum[:8])
}

var userName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$`)

// readUsers reads the file of users.
func readUsers(path string) (map[string]user, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the users: %w", err)
	}
	users := map[string]user{}
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		wrong := func(problem string) (map[string]user, error) {
			return nil, fmt.Errorf(
				"reading the users: line %d of %s %s; noted-desk passwd makes lines",
				number,
				path,
				problem,
			)
		}
		fields := strings.Split(line, ":")
		if len(fields) != 3 || !userName.MatchString(fields[0]) {
			return wrong("is not NAME:ROLE:HASH")
		}
		role, err := ParseRole(fields[1])
		if err != nil {
			return wrong("has a role other than looker, clerk and admin")
		}
		if _, err := parseHash(fields[2]); err != nil && fields[2] != noPassword {
			return wrong("has no readable hash")
		}
		if _, twice := users[fields[0]]; twice {
			return wrong("names " + fields[0] + " a second time")
		}
		users[fields[0]] = user{fields[0], role, fields[2]}
	}
	return users, nil
}

// noPassword stands for the hash of a person who comes only through a proxy.
const noPassword = "-"

// The parameters of new hashes: the second choice of RFC 9106, for machines without
// gigabytes to spare.
const (
	hashTime    = 3
	hashMemory  = 64 << 10 // KiB
	hashThreads = 4
	hashLength  = 32
)

// minPassword is the shortest password, in characters.
const minPassword = 12

// UserLine makes a line of the file of users.
func UserLine(name string, role Role, password string) (string, error) {
	switch {
	case !userName.MatchString(name):
		return "", fmt.Errorf("%q is not a user name; use letters, digits and . _ @ + -, up to 64", name)
	case role == Nobody:
		return "", errors.New("a user needs a role: looker, clerk or admin")
	case utf8.RuneCountInString(password) < minPassword:
		return "", fmt.Errorf("a password needs %d characters or more, such as a few words", minPassword)
	case len(password) > maxPassword:
		return "", fmt.Errorf("a password has at most %d bytes", maxPassword)
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	hash := argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashThreads, hashLength)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("%s:%s:$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		name, role, argon2.Version, hashMemory, hashTime, hashThreads, encode(salt), encode(hash)), nil
}

// maxPassword limits the hash's input, in bytes.
const maxPassword = 1024

// A passwordHash is an argon2id hash with its parameters.
type passwordHash struct {
	memory, time uint32
	threads      uint8
	salt, sum    []byte
}

// parseHash reads the usual form of an argon2id hash. Its limits keep a line from taking
// all the machine's memory.
func parseHash(text string) (h passwordHash, err error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return h, errors.New("not an argon2id hash")
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads); err != nil {
		return h, err
	}
	if h.memory < 8<<10 || h.memory > 1<<20 || h.time < 1 || h.time > 20 || h.threads < 1 {
		return h, errors.New("parameters out of range")
	}
	if h.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return h, err
	}
	if h.sum, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil {
		return h, err
	}
	if len(h.salt) < 8 || len(h.sum) < 16 || len(h.sum) > 64 {
		return h, errors.New("salt or hash of a wrong length")
	}
	return h, nil
}

// matches reports whether a password has this hash.
func (h passwordHash) matches(password string) bool {
	sum := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.sum)))
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}

// stranger is the hash of no password, so that an unknown name costs as much time as a
// known name.
var stranger = passwordHash{
	memory: hashMemory, time: hashTime, threads: hashThreads, salt: make([]byte, 16), sum: make([]byte, hashLength),
}
