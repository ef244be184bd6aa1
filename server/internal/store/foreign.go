package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/donation-dedupe/noted/server/internal/store/wire"
)

// Foreign tells whether err is the failure of one series alone, in a store that is well.
func Foreign(err error) bool { return wire.Foreign(err) }

// located adds the place to the failure of one series: its ledger, and a command that prints
// its key. The command only reads keys. It has no quotes, so that it can be copied from a
// log in JSON without changes.
func located(key string, err error) error {
	ledger, _, _ := seriesOf(key)
	hash := sha256.Sum256([]byte(key))
	return fmt.Errorf("%w; it is in the ledger %q, and this prints its key: (set -f; IFS=; redis-cli --scan "+
		"--pattern noted:* | while read -r key; do "+
		"printf %%s $key | sha256sum | grep -q ^%s && echo $key; done)", err, ledger, hex.EncodeToString(hash[:8]))
}
