package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// What stands under a key of ours and is not ours is never a verdict and is never
// overwritten. It counts as a store that cannot answer, not as a bug: nobody knows
// whether the donation was noted, the caller comes again, and once an operator has moved
// the value away the answer is right. Neither the key nor the value is repeated, since
// errors are logged and both may be a donor's.

// errForeign marks them.
var errForeign = errors.New("the series' key holds what this release cannot read")

// at adds to such a failure where it is. The command prints the key and reads keys only.
// It has no quotes, so that it can be copied from a log in JSON as it stands.
func at(key string, err error) error {
	ledger, _, ok := seriesOf(key)
	if !ok {
		return fmt.Errorf("%w; its key is %q", err, key) // a marker's, which is in no series
	}
	hash := sha256.Sum256([]byte(key))
	return fmt.Errorf("%w; it is in the ledger %q, and this prints its key: (set -f; IFS=; redis-cli --scan "+
		"--pattern noted:* | while read -r key; do "+
		"printf %%s $key | sha256sum | grep -q ^%s && echo $key; done)", err, ledger, hex.EncodeToString(hash[:8]))
}

// Foreign tells a failure of one series alone, with a store that is well.
func Foreign(err error) bool { return errors.Is(err, errForeign) }

// notOurs is the failure of a series that another release, or another program, has
// written.
func notOurs(version string) error {
	if version >= "2" && version <= "9" {
		return fmt.Errorf(
			"%w: %w: a later release, whose format is %q, has written this series; run that one",
			ErrUnavailable,
			errForeign,
			version,
		)
	}
	return fmt.Errorf("%w: %w: the value is none that Noted has written; %s", ErrUnavailable, errForeign, moveAway)
}

// foreign is the failure of a key that holds something else than text.
func foreign(err error) error {
	return fmt.Errorf("%w: %w: it is of another type than Noted's (%w); %s", ErrUnavailable, errForeign, err, moveAway)
}

// unreadable is the failure of a line that a script took for a note, and may have written
// to.
func unreadable() error {
	return fmt.Errorf("%w: %w: a note is not written as Noted writes it; %s", ErrOutcomeUnknown, errForeign, moveAway)
}

const moveAway = "another program writes to this Redis under the prefix of Noted; stop it, look at the series' key with redis-cli, and move it away (RENAME); " +
	"an ACL with the keys ~noted:* for Noted's user alone keeps others out"
