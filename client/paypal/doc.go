// Package paypal reads what PayPal sent, an IPN or a webhook, and says which
// donations it tells of.
//
// Two pure functions do the work: [IdentifyIPN] and [IdentifyWebhook] turn the
// bytes of a body into pairs of a donation and the message that told of it, or
// into a reason to skip it, or into a [MalformedError]. They ask nobody and
// verify nothing: verify first, because whoever can have a forged message noted
// can have the genuine one suppressed.
//
//	identified, err := paypal.IdentifyIPN(body)
//	for _, pair := range identified.Pairs { … } // ask Noted, then process
//
// A message may tell of no donation, of one, or of several. Look at Warnings
// too, and be loud about Unknown: there PayPal said something that this package
// does not understand. What is known to be no donation is skipped without it.
//
// # Which series
//
//   - Money that comes in, and the state of a series, belong to the series that the
//     message names. A payment that names no series is a series of one, named by its
//     transaction id. An id that begins with B- names a means of payment and no series:
//     billing_agreement_id, recurring_payment_id and subscr_id are then passed by, and
//     mp_id is not read at all.
//   - A refund is a series of one, named by its own id, on both channels: its webhook
//     often does not say what it takes back, and two partial refunds of one sum must
//     not meet.
//   - A reversal, a reversal canceled, an adjustment and a dispute belong to the payment
//     that they are about. Where they name none, they are a series of one under their
//     own id. A webhook's reversal that names none then has neither transaction id nor
//     time: its resource may be the payment itself, months old.
//
// # Known limits
//
// A second BILLING.SUBSCRIPTION.ACTIVATED of a series, under an id of its own, is a
// second [EventSignup], and may be a resumption: PayPal's page on subscriptions lists no
// other event for that. Look whether the series has payments before welcoming the donor
// again.
//
// Where the channels' transaction ids differ, a refund that both tell of is two
// donations. So is a donation of which one message names another series than its twin, or
// none: a webhook that has lost its agreement, a merch_pmt without its profile.
//
// The state of a series has no time: two changes of one kind within Noted's arrival
// window, the one told by IPN only and the other by webhook only, are taken for one.
//
// # Design
//
// The same rules exist in Python and PHP and must print the same bytes, so each
// is kept as plain as it can be; testdata holds the cases that hold the three
// together. Wherever PayPal's messages leave room, the choice is the one that
// neither loses a donation nor doubles one: what can be left out is left out
// and warned about, and only what cannot be read at all or names no series is
// malformed. Rules 1 to 8 are common to both channels.
//
//  1. Text. The space 0x20, and nothing else, is trimmed from both ends of a
//     value. A value that is then empty counts as absent. Types, statuses and
//     states are compared without regard to the case of A to Z; field names
//     and currencies with regard to it. Patterns match the whole value (in
//     Python fullmatch, in PHP the modifier D), and \d is 0 to 9.
//  2. An id is 1 to 128 bytes of 0x21 to 0x7e. A message id or transaction id
//     that is not is left out with a warning; a series id that is not counts
//     as absent with a warning, and the rule's next candidate is taken. No
//     candidate left: malformed, naming the fields looked at.
//  3. An amount drops one leading + or - and must then match
//     \d{1,15}(\.\d{1,8})?, a currency [A-Z]{3}. An absent amount is no
//     trouble, whatever the currency. An amount that does not match, or whose
//     currency is absent or does not match, leaves both out with one warning.
//  4. A time is one of the four spellings in time.go. Anything else is left
//     out with a warning. It is kept to the nanosecond (further digits are cut)
//     and printed in UTC with 0, 3, 6 or 9 digits.
//  5. A field warns at most once, and only a field that a rule looks at warns.
//  6. Text of the message inside a skip reason is trimmed, every byte outside
//     0x20 to 0x7e and each " and \ becomes ?, and it is cut at 64 bytes. The
//     reasons are the sentences in ipn.go and webhook.go.
//  7. First it is decided whether the message is skipped; a skipped message is
//     never malformed for want of a series id.
//  8. One line is printed per pair, fields in the order of the contract, no
//     empty field, no space, "event" always; ids, amounts and currencies need no
//     escape. A skipped message prints {"skipped":"reason"}.
//
// # IPN
//
// Trailing CR and LF bytes are not part of the body. It splits at &, empty
// pieces are dropped, the first = ends the name, + is a space, %XX is a byte, and a
// % without two hexadecimal digits behind it stays as it is. Nothing is
// converted from one character set to another. A field named resend is dropped
// here, since PayPal adds it to what it sends again. No field left: malformed.
// Where a name repeats, the first counts.
//
// The message id is the first 32 hexadecimal digits, in lower case, of SHA-256
// over name=value and a newline for each field, sorted by name in byte order,
// repeated names in the order of the body.
//
// Choices where the tables of the design leave room:
//
//   - The series of money in and of series state is recurring_payment_id, else
//     subscr_id, except that a subscr_id that begins with I- beats a
//     recurring_payment_id that does not. Both are looked at. Then txn_id, and
//     last old_subscr_id: it is only the old name, but better than none.
//   - Payments that failed are money: they have txn_id, payment_date and
//     mc_gross where those are given.
//   - Money goes out when a Completed or Processed message has an mc_gross
//     that begins with -, even one that cannot be read otherwise.
//   - An initial_payment_status that is none of a payment's (or is missing)
//     leaves the second donation out with a warning, and the signup stands.
//     An initial_payment_txn_id that is no id is left out of it, like any.
//   - A message with a txn_type that is not known is skipped as unknown even
//     when its payment_status is known: a guess could count twice.
//   - A refund without a usable txn_id is malformed: its parent would name it, and two
//     equal refunds in one series could meet, of which one would be lost without a word.
//   - A new_case without a usable txn_id is a series named by its case_id.
//   - A message with neither type nor status is skipped as unknown, not
//     malformed: PayPal does send such (adaptive accounts), and a refusal only
//     makes it come again.
//
// # Webhook
//
// A UTF-8 byte order mark is dropped, and every other byte from 0x80 up is read as 0x7f:
// all that is looked at is ASCII, so a bad encoding elsewhere in the
// body loses nothing, and an id that had such a byte stays no id. Then it must
// be a JSON object by RFC 8259 (no NaN, no bare control characters) nested at
// most 64 deep, counted as brackets [ and { outside strings; anything else is malformed.
// The last of repeated names counts. A surrogate escape without its
// twin stands for U+FFFD (PHP must replace it, and \u0000 by \u007f, before it decodes).
//
// A number is the text it is written with, for amounts and ids alike. null is
// absent. true, false, an array or an object where text belongs is absent with a
// warning, and so is a path that leads through something that is no object;
// for event_type it is malformed.
//
// Choices where the tables leave room:
//
//   - A missing or bad event id is warned about: Noted then judges by
//     transaction id and time alone.
//   - The state of a sale or capture is state, else status. Its amount is
//     total with currency where total is there, else value with currency_code.
//   - BILLING.SUBSCRIPTION.CREATED is of version 2 when resource_version begins
//     with 2 or resource_type is subscription; else it is a v1 agreement.
//   - The payment that a reversal takes back is looked for in this order, and no further
//     than needed: of a sale, sale_id, then a link of rel sale; of a capture, a link of
//     rel up or capture, then capture_id, then supplementary_data.related_ids.capture_id.
//     One that is the resource itself is none.
//   - A link names what stands between the last "/sale/" of its href ("/captures/" or
//     "/capture/" of a capture's) and the next / ? # or the end. A link without that is
//     passed by; one whose id is no id is warned about and passed by.
//   - A disputed transaction without a usable id is left out with a warning; one that is
//     named twice counts once. None left: the dispute is a series named by its dispute_id.
package paypal
