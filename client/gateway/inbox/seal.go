package inbox

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// keyPrefix begins every line of a key file, so that no other secret is mistaken for a
// key.
const keyPrefix = "inboxkey_"

// A Key seals bodies with AES-256-GCM.
type Key struct {
	ID   string // derived from the key, so that no other key has it
	aead cipher.AEAD
}

// NewKeyLine makes a key, as a line of a key file.
func NewKeyLine() string {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails
	return keyPrefix + base64.StdEncoding.EncodeToString(secret[:])
}

// ReadKeys reads a key file: one line, or two while the first replaces the second. Lines
// that begin with # are comments.
func ReadKeys(content []byte) ([]Key, error) {
	var keys []Key
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(line, keyPrefix))
		if err != nil || len(secret) != 32 || !strings.HasPrefix(line, keyPrefix) {
			return nil, fmt.Errorf("key %d is not a line from noted-gateway inbox-key", len(keys)+1)
		}
		block, err := aes.NewCipher(secret)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(append([]byte("noted inbox key id\n"), secret...))
		keys = append(keys, Key{hex.EncodeToString(sum[:4]), aead})
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("the file has no key; make a key with noted-gateway inbox-key")
	case len(keys) > 2:
		return nil, errors.New("the file has more than two keys; keep the new key first and the old key second")
	case len(keys) == 2 && keys[0].ID == keys[1].ID:
		return nil, errors.New("the file has the same key twice")
	}
	return keys, nil
}

// envelope is the sealed part of a message.
type envelope struct {
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"`
}

// seal seals an envelope for one row. It cannot be opened in another row.
func (b *Inbox) seal(row string, e envelope) (keyID string, sealed []byte, err error) {
	if len(b.config.Keys) == 0 {
		return "", nil, errors.New("sealing: the inbox was opened without a key")
	}
	plain, err := json.Marshal(e)
	if err != nil {
		return "", nil, err
	}
	key := b.config.Keys[0]
	nonce := make([]byte, key.aead.NonceSize(), key.aead.NonceSize()+len(plain)+key.aead.Overhead())
	_, _ = rand.Read(nonce) // never fails
	return key.ID, key.aead.Seal(nonce, nonce, plain, []byte(row)), nil
}

// open opens the envelope of a row.
func (b *Inbox) open(row, keyID string, sealed []byte) (e envelope, err error) {
	for _, key := range b.config.Keys {
		if key.ID != keyID {
			continue
		}
		if len(sealed) < key.aead.NonceSize() {
			return e, errors.New("opening: the body is truncated")
		}
		nonce, text := sealed[:key.aead.NonceSize()], sealed[key.aead.NonceSize():]
		plain, err := key.aead.Open(nil, nonce, text, []byte(row))
		if err != nil {
			return e, errors.New("opening: the body was changed, or belongs to another row")
		}
		return e, json.Unmarshal(plain, &e)
	}
	return e, fmt.Errorf("opening: the body is sealed with key %s, which is not in the key file", keyID)
}
