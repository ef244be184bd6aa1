package verify

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"

	"github.com/donation-dedupe/noted/client/gateway/internal/answer"
)

// A signature verifies webhooks by their certificate, without a call to PayPal's API.
type signature struct {
	webhooks     []Subscription
	certificates *certificates
}

// errNotSigned does not tell a forger which part is wrong.
var errNotSigned = &answer.Refusal{
	Status: http.StatusBadRequest,
	Reason: "invalid",
	Text: "the signature is not PayPal's over this body for this webhook; compare the webhook id with " +
		"PayPal's dashboard",
}

// verify checks the signature over id, time, our webhook's id and the checksum of the
// body. id is the id of the webhook that the signature covers.
func (s *signature) verify(_ context.Context, t transmission, body []byte) (id string, test bool, err error) {
	if !strings.EqualFold(t.algorithm, "SHA256withRSA") {
		return "", false, &answer.Refusal{
			Status: http.StatusBadRequest,
			Reason: "headers",
			Text:   "the signature algorithm is not SHA256withRSA",
		}
	}
	sign, err := base64.StdEncoding.DecodeString(t.signature)
	if err != nil {
		return "", false, errNotSigned
	}
	certificate, test, err := s.certificates.trusted(t.certURL)
	if err != nil {
		return "", false, err
	}
	key, ok := certificate.PublicKey.(*rsa.PublicKey)
	if !ok || key.Size() < 256 {
		return "", false, errUntrusted
	}
	checksum := strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10)
	for _, w := range s.webhooks {
		sum := sha256.Sum256([]byte(t.id + "|" + t.time + "|" + w.ID + "|" + checksum))
		if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sign) == nil {
			return w.ID, test, nil
		}
	}
	return "", false, errNotSigned
}
