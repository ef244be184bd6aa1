// Package paypal reads what PayPal sent, an IPN or a webhook, and says which
// donations it tells of.
//
// Two pure functions do the work: [IdentifyIPN] and [IdentifyWebhook] turn the bytes of a
// body into pairs of a donation and its message, into a reason to skip it, or into a
// [MalformedError]. They make no call and verify nothing. Verify the message first: a
// forged message that is noted suppresses the genuine one.
//
//	identified, err := paypal.IdentifyIPN(body)
//	for _, pair := range identified.Pairs { … } // ask Noted, then process
//
// A message may tell of no donation, of one, or of several. Look at Warnings too, and
// raise an alarm for Unknown: this package does not know that type or status. A known
// type that tells of no donation is skipped without Unknown.
//
// # Which series
//
//   - Money that comes in, and the state of a series, belong to the series that the
//     message names. A payment that names no series is a series of one, named by its
//     transaction id. An id that begins with B- names a means of payment and not a
//     series: a billing_agreement_id, recurring_payment_id or subscr_id of that form is
//     passed by, and mp_id is not read.
//   - A refund is a series of one, named by its own id, on both channels: its webhook
//     often does not say what it takes back, and two partial refunds of one sum must
//     not meet.
//   - A reversal, a reversal canceled, an adjustment and a dispute belong to the payment
//     that they are about. If they name no payment, they are a series of one under their
//     own id. A webhook's reversal that names no payment has neither transaction id nor
//     time: its resource may be the payment itself, months old.
//
// # Known limits
//
// A second BILLING.SUBSCRIPTION.ACTIVATED of a series, under an id of its own, is a
// second [EventSignup]. It may be a resumption: PayPal's page on subscriptions lists no
// other event for that. Check whether the series has payments before you welcome the
// donor again.
//
// Where the channels' transaction ids differ, a refund told on both channels is two
// donations. So is a donation whose messages name two series, or of which one names no
// series: a webhook without its agreement, a merch_pmt without its profile.
//
// The state of a series has no time. Two changes of one kind within Noted's arrival
// window count as one, if one is told only by IPN and the other only by webhook.
//
// # Design
//
// The same rules exist in Python, PHP and TypeScript and must print the same bytes, so
// each rule is plain; testdata holds the cases that all languages run. Wherever PayPal's
// messages leave room, the choice is the one that neither loses nor doubles a donation.
// An unusable field is left out with a warning. Only a body that cannot be read or names
// no series is malformed. Rules 1 to 8 are common to both channels.
//
//  1. Text. Only the space 0x20 is trimmed from both ends of a value. A value that is
//     then empty counts as absent. Types, statuses and states are compared without regard
//     to the case of A to Z; field names and currencies with regard to it. Patterns match
//     the whole value (in Python fullmatch, in PHP the modifier D), and \d is 0 to 9.
//  2. An id is 1 to 128 bytes of 0x21 to 0x7e. Another message id or transaction id is
//     left out with a warning. Another series id counts as absent with a warning, and the
//     rule's next candidate is taken. Without a candidate the message is malformed, and
//     the error names the fields.
//  3. An amount drops one leading + or - and must then match \d{1,15}(\.\d{1,8})?, a
//     currency [A-Z]{3}. An absent amount is fine with any currency. If the amount
//     does not match, or its currency is absent or does not match, both are left out with
//     one warning.
//  4. A time has one of the four spellings in time.go. Any other text is left out with a
//     warning. A time is kept to the nanosecond (further digits are cut) and printed in
//     UTC with 0, 3, 6 or 9 digits.
//  5. A field warns at most once, and only a field that a rule looks at warns.
//  6. Text of the message inside a skip reason is trimmed, every byte outside
//     0x20 to 0x7e and each " and \ becomes ?, and it is cut at 64 bytes. The
//     reasons are the sentences in ipn.go and webhook.go.
//  7. The decision to skip comes first: a skipped message is never malformed for want of
//     a series id.
//  8. One line is printed per pair, fields in the order of the contract, no
//     empty field, no space, "event" always; ids, amounts and currencies need no
//     escape. A skipped message prints {"skipped":"reason"}.
//
// # IPN
//
// Trailing CR and LF bytes are not part of the body. It splits at &, empty pieces are
// dropped, the first = ends the name, + is a space, %XX is a byte, and a % without two
// hexadecimal digits behind it stays as it is. No character set is converted. A field
// named resend is dropped, because PayPal adds it to a message that it sends again. A
// body without fields is malformed. If a name repeats, the first counts.
//
// The message id is the first 32 hexadecimal digits, in lower case, of SHA-256
// over name=value and a newline for each field, sorted by name in byte order,
// repeated names in the order of the body.
//
// Choices where the tables of the design leave room:
//
//   - The series of money in and of series state is recurring_payment_id, else subscr_id,
//     except that a subscr_id that begins with I- beats a recurring_payment_id that does
//     not. Both are read. Then txn_id, and last old_subscr_id: the old name is better
//     than no name.
//   - Payments that failed are money: they have txn_id, payment_date and mc_gross if the
//     message has them.
//   - Money goes out when a Completed or Processed message has an mc_gross that begins
//     with -, even if the rest of it cannot be read.
//   - An initial_payment_status that is missing, or not the status of a payment, leaves
//     the second donation out with a warning, and the signup stands. An
//     initial_payment_txn_id that is not an id is left out, like any other.
//   - A message with an unknown txn_type is skipped as unknown, even when its
//     payment_status is known: a guess could count twice.
//   - A refund without a usable txn_id is malformed: named by its parent, two equal
//     refunds in one series could meet, and one would be lost quietly.
//   - A new_case without a usable txn_id is a series named by its case_id.
//   - A message with neither type nor status is skipped as unknown, not malformed: PayPal
//     does send such messages (adaptive accounts), and repeats a message that is refused.
//
// # Webhook
//
// A UTF-8 byte order mark is dropped, and every other byte from 0x80 up is read as 0x7f.
// All fields that count are ASCII, so a bad encoding elsewhere in the body loses nothing,
// and an id with such a byte stays unusable. The body must then be a JSON object by RFC
// 8259 (no NaN, no bare control characters) nested at most 64 deep, counted as brackets [
// and { outside strings; any other body is malformed. The last of repeated names counts.
// A lone surrogate escape stands for U+FFFD (PHP must replace it, and \u0000 by \u007f,
// before it decodes).
//
// A number is the text it is written with, for amounts and ids alike. null is absent.
// true, false, an array or an object in the place of text is absent with a warning, and
// so is a path that leads through a value that is not an object; for event_type it is
// malformed.
//
// Choices where the tables leave room:
//
//   - A missing or bad event id is warned about: Noted then judges by
//     transaction id and time alone.
//   - The state of a sale or capture is state, else status. Its amount is total with
//     currency if there is a total, else value with currency_code.
//   - BILLING.SUBSCRIPTION.CREATED is of version 2 when resource_version begins
//     with 2 or resource_type is subscription; else it is a v1 agreement.
//   - The payment that a reversal takes back is looked for in this order, and no further
//     than needed: of a sale, sale_id, then a link of rel sale; of a capture, a link of
//     rel up or capture, then capture_id, then supplementary_data.related_ids.capture_id.
//     The resource itself does not count.
//   - A link names the text between the last "/sale/" of its href ("/captures/" or
//     "/capture/" for a capture) and the next / ? # or the end. A link without it is
//     passed by; a link whose text is not an id is passed by with a warning.
//   - A disputed transaction without a usable id is left out with a warning; a
//     transaction that is named twice counts once. Without any, the dispute is a series
//     named by its dispute_id.
package paypal
