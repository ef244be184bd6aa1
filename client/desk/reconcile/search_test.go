package reconcile_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/donation-dedupe/noted/client"
	"github.com/donation-dedupe/noted/client/desk/reconcile"
)

// transaction is a transaction of PayPal's Transaction Search API, with a made-up donor.
func transaction(id, code, day, amount, currency, status string) string {
	return fmt.Sprintf(`{"transaction_info":{"paypal_account_id":"ACCOUNT","transaction_id":%q,`+
		`"transaction_event_code":%q,"transaction_initiation_date":"%sT10:15:00+0000",`+
		`"transaction_amount":{"currency_code":%q,"value":%q},"fee_amount":{"currency_code":"EUR","value":"-0.80"},`+
		`"transaction_status":%q},"payer_info":{"email_address":"ann@example.org",`+
		`"payer_name":{"alternate_full_name":"Ann Donor"}}}`, id, code, day, currency, amount, status)
}

// answer is a page of the API.
func answer(page, of int, transactions ...string) string {
	return fmt.Sprintf(`{"transaction_details":[%s],"account_number":"ACCOUNT","start_date":"2026-10-28T00:00:00+0000",`+
		`"end_date":"2026-11-05T23:59:59+0000","page":%d,"total_items":10,"total_pages":%d,`+
		`"links":[{"href":"https://example.org","rel":"self"}]}`, strings.Join(transactions, ","), page, of)
}

// pages is the report of english in two pages.
func pages() []string {
	return []string{
		answer(1, 2,
			transaction("T1", "T0002", "2026-10-28", "25.00", "EUR", "S"),
			transaction("T2", "T0013", "2026-10-29", "1250.50", "EUR", "S"),
			transaction("T3", "T0013", "2026-10-30", "5.00", "USD", "S"),
			transaction("T4", "T0002", "2026-10-31", "7.00", "EUR", "S"),
			transaction("T5", "T0002", "2026-11-01", "8.00", "EUR", "V")),
		answer(2, 2,
			transaction("R1", "T1107", "2026-11-02", "-25.00", "EUR", "S"),
			transaction("W1", "T0400", "2026-11-03", "-900.00", "EUR", "S"),
			transaction("C1", "T0200", "2026-11-03", "4.20", "EUR", "S"),
			transaction("T6", "T0013", "2026-11-04", "9.00", "EUR", "P"),
			transaction("T7", "T0013", "2026-11-05", "11.00", "EUR", "S")),
	}
}

// The JSON of the API means the same as the file for download, as one page after another
// and as an array. The result names no donor.
func TestSearch(t *testing.T) {
	for name, report := range map[string]string{
		"pages":        strings.Join(pages(), "\n"),
		"an array":     "\ufeff\n [" + strings.Join(pages(), ",") + "]",
		"pages, twice": strings.Join(append(pages(), pages()...), ""),
	} {
		result, err := reconcile.Compare(strings.NewReader(report), list(notes()...), reconcile.Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := said(result); !slices.Equal(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if text := fmt.Sprintf("%+v", result.Findings); strings.Contains(text, "Donor") || strings.Contains(text, "@") {
			t.Errorf("%s: a donor is in the result: %s", name, text)
		}
	}
}

// A code says whether a transaction is money for a donation, money given back, or
// neither. An unknown code counts.
func TestCodes(t *testing.T) {
	for code, counts := range map[string][2]bool{ // of money in, of money out
		"T0006": {true, false}, "T0013": {true, false}, "T1107": {true, true}, "T1201": {true, true},
		"T1105": {false, false}, "T1110": {false, false}, "T0300": {false, false}, "T2101": {false, false},
		"T9900": {true, false}, "": {true, false},
	} {
		for i, amount := range []string{"5.00", "-5.00"} {
			report := answer(1, 1, transaction("X1", code, "2026-11-01", amount, "EUR", "S"))
			result, err := reconcile.Compare(strings.NewReader(report), list(), reconcile.Options{})
			if err != nil || (result.Compared == 1) != counts[i] {
				t.Errorf("%s of %s: %+v, %v, want that it counts: %t", code, amount, result, err, counts[i])
			}
		}
	}
}

// Input that is not an answer of the API, and input without all pages, gets an error with
// the remedy.
func TestSearchRefusals(t *testing.T) {
	one := transaction("T1", "T0002", "2026-10-28", "25.00", "EUR", "S")
	for report, want := range map[string]string{
		`{"error":"invalid_token"}`: "JSON without transaction_details; save the answer",
		`["a"]`:                     "not from PayPal's Transaction Search API",
		`{"transaction_details":`:   "truncated or damaged",
		`{"transaction_details":[{"transaction_info":7}]}`: "truncated or damaged",
		answer(1, 1)[:100]:          "truncated or damaged",
		`{"transaction_details":7}`: "transaction_details is not a list",
		answer(1, 1):                "no row with a transaction",
		answer(2, 3, one):           "has 1 of 3 pages of the transactions from 2026-10-28T00:00:00+0000 to",
		answer(1, 1, strings.Replace(one, "25.00", "1e9", 1)):        `transaction 1 of the report: "1e9" is not an amount`,
		answer(1, 1, strings.Replace(one, "2026-10-28T", "soon", 1)): `is not a day`,
	} {
		_, err := reconcile.Compare(strings.NewReader(report), list(), reconcile.Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", report, err, want)
		}
	}
	if !json.Valid([]byte(answer(1, 1, one))) {
		t.Error("the test's own answer is no JSON")
	}
}

// The columns of each language are found, and its rows mean the same. The words of each
// language are PayPal's, the donors are made up.
func TestLanguages(t *testing.T) {
	const frenchNames = "\"Date\",\"Heure\",\"Fuseau horaire\",\"Description\",\"Devise\",\"%s\",\"Frais \",\"Net\",\"Solde\"," +
		"\"Numéro de transaction\",\"Adresse email de l'expéditeur\",\"Nom\"\n"
	frenchRow := func(kind, amount, id string) string {
		return `"31/10/2026","10:15:00","Europe/Paris","` + kind + `","EUR","` + amount + `","0,00","0,00","0,00","` + id +
			`","ann@example.org","Ann"` + "\n"
	}
	italianRow := func(kind, amount, id string) string {
		return `"31/10/2026","19:54:59","Europe/Berlin","` + kind + `","EUR","` + amount + `","0,00","0,00","0,00","` + id + "\"\n"
	}
	dutchRow := func(kind, amount, id string) string {
		return `"31-10-2026","10:00:00","CET","` + kind + `","EUR","` + amount + `","0,00","0,00","0,00","` + id + "\"\n"
	}
	for language, report := range map[string]string{
		"french": "\ufeff" + fmt.Sprintf(frenchNames, "Avant commission") + frenchRow("Paiement", "1 250,50", "T2") +
			frenchRow("Remboursement", "-25,00", "R1"),
		"french, of today": fmt.Sprintf(frenchNames, "Brut ") + frenchRow("Paiement Express Checkout", "1 250,50", "T2") +
			frenchRow("Virement bancaire sur le compte PayPal", "9,00", "W1") +
			frenchRow("Suspension de compte pour autorisation en cours", "9,00", "W2") +
			frenchRow("Annulation de suspension de compte standard", "9,00", "W3") +
			frenchRow("Remboursement", "-25,00", "R1"),
		"spanish": "\"Fecha\",\"Hora\",\"Zona horaria\",\"Nombre\",\"Tipo\",\"Estado\",\"Divisa\",\"Bruto\",\"Tarifa\",\"Neto\",\"Id. de transacción\"\n" +
			"\"31/10/2026\",\"10:00:00\",\"CET\",\"Ann\",\"Pago\",\"Completado\",\"EUR\",\"1.250,50\",\"0,00\",\"0,00\",\"T2\"\n" +
			"\"31/10/2026\",\"10:00:00\",\"CET\",\"Ann\",\"Pago\",\"Pendiente\",\"EUR\",\"9,00\",\"0,00\",\"0,00\",\"T6\"\n" +
			"\"31/10/2026\",\"10:00:00\",\"CET\",\"\",\"Retirada\",\"Completado\",\"EUR\",\"9,00\",\"0,00\",\"0,00\",\"W1\"\n" +
			"\"31/10/2026\",\"10:00:00\",\"CET\",\"Ann\",\"Reembolso\",\"Completado\",\"EUR\",\"-25,00\",\"0,00\",\"0,00\",\"R1\"\n",
		"italian": "\"Data\",\"Ora\",\"Fuso orario\",\"Descrizione\",\"Valuta\",\"Lordo \",\"Tariffa \",\"Netto\",\"Saldo\",\"Codice transazione\"\n" +
			italianRow("Pagamento Express Checkout", "1.250,50", "T2") + italianRow("Versamento generico con carta", "9,00", "W1") +
			italianRow("Bonifico bancario sul conto PayPal", "9,00", "W2") + italianRow("Conversione di valuta generica", "9,00", "W3") +
			italianRow("Storno di blocco conto generico", "9,00", "W4") + italianRow("Trasferimento avviato dall'utente", "-9,00", "W5") +
			italianRow("Annullamento blocco per risoluzione contestazione", "9,00", "W6") +
			italianRow("Rimborso di pagamento", "-25,00", "R1"),
		"italian, with the state": "Data,Tipo,Stato,Valuta,\"Lordo \",Codice transazione\n" +
			"31/10/2026,Pagamento da cellulare,Completata,EUR,\"1.250,50\",T2\n" +
			"31/10/2026,Pagamento da cellulare,In sospeso,EUR,\"9,00\",T6\n" +
			"31/10/2026,Rimborso di pagamento,Completata,EUR,\"-25,00\",R1\n",
		"dutch": "\"Datum\",\"Tijd\",\"Tijdzone\",\"Omschrijving\",\"Valuta\",\"Bruto\",\"Kosten\",\"Net\",\"Saldo\",\"Transactiereferentie\"\n" +
			dutchRow("Express Checkout-betaling", "1.250,50", "T2") + dutchRow("Valutaomrekening", "9,00", "W1") +
			dutchRow("Algemene valutaomrekening", "9,00", "W2") + dutchRow("Bankstorting naar PP-rekening", "9,00", "W3") +
			dutchRow("Algemene kaartstorting", "9,00", "W4") + dutchRow("Terugbetaling", "-25,00", "R1"),
	} {
		refund := note("r1", "R1", "25.00", "EUR", client.EventRefund, client.StateSettled, "2026-10-31")
		result, err := reconcile.Compare(strings.NewReader(report), list(refund), reconcile.Options{})
		if err != nil {
			t.Errorf("%s: %v", language, err)
			continue
		}
		want := []string{
			"missing here|T2|2026-10-31|1250.50 EUR||", "2026-10 EUR: in 1250.50, 0.00; out 25.00, 25.00; agrees false",
		}
		if got := said(result); !slices.Equal(got, want) {
			t.Errorf("%s: got %q", language, got)
		}
		if result.Compared != 2 || result.Compared+result.Others+result.Pending != result.Rows {
			t.Errorf("%s: of %d rows %d are compared, %d others and %d pending", language, result.Rows, result.Compared,
				result.Others, result.Pending)
		}
	}
}

// In Italian a refund that Noted has not noted is missing. In a language whose word for it is
// not known it is told by the note alone.
func TestRefundsThatAreMissing(t *testing.T) {
	report := "Data,Tipo,Valuta,Lordo,Codice transazione\n31/10/2026,Rimborso di pagamento,EUR,\"-25,00\",R1\n"
	result, err := reconcile.Compare(strings.NewReader(report), list(), reconcile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := said(result)[0]; got != "missing here|R1|2026-10-31|-25.00 EUR||" {
		t.Errorf("got %s", got)
	}
}
