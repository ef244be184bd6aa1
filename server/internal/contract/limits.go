// Package contract is the code's side of api/noted/v1/noted.proto: the limits that a
// request must keep, the one table of refusals, and the translation between the
// contract's messages and the store's values.
package contract

import (
	"time"
)

// The limits of fields, in bytes unless the type says otherwise.
const (
	MaxLedger     = 64
	MaxID         = 128 // series_id, message id, transaction_id, request_id
	MaxChannel    = 32
	MaxReceipt    = 512
	MaxDonationID = 64
	MaxReason     = 256
	MaxHold       = 15 * time.Minute

	MaxPageSize     = 1000
	DefaultPageSize = 100 // the meaning of page_size 0
)

// The limits of transport. Messages are small: the longest request is below 2 KiB, so a
// caller that sends more is not a caller of Noted. Responses are small too, so a client
// that stops reading costs little.
const (
	MaxMessage = 64 << 10
	MaxPage    = 256 << 10 // the notes of one page; a thousand ordinary notes are hardly more
	MaxHeaders = 16 << 10
	MaxStreams = 250 // of one connection
)
