package store

import (
	"fmt"
	"strings"
	"testing"
)

// slotOf is the slot of a key, as Redis Cluster's specification has it: the CRC16
// (XMODEM) of the text between the first braces, modulo 16384.
func slotOf(key string) int {
	_, tag, _ := strings.Cut(key, "{")
	tag, _, _ = strings.Cut(tag, "}")
	crc := uint16(0)
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % 16384
}

// Series are spread evenly over the primaries of a cluster, with any kind of ids: random
// letters like PayPal's, or consecutive numbers.
func TestSeriesAreSpreadEvenly(t *testing.T) {
	if got := slotOf("{123456789}"); got != 0x31C3 {
		t.Fatalf("slotOf is wrong: %#x, want 0x31c3", got)
	}
	const series = 100_000
	letters := "ABCDEFGHJKLMNPQRSTUVWXY0123456789"
	random := uint64(1)
	for name, id := range map[string]func(i int) string{
		"numbers in a row": func(i int) string { return fmt.Sprintf("I-%012d", i) },
		"PayPal's": func(int) string {
			var b strings.Builder
			b.WriteString("I-")
			for range 12 {
				random = random*6364136223846793005 + 1442695040888963407
				b.WriteByte(letters[(random>>33)%uint64(len(letters))])
			}
			return b.String()
		},
	} {
		for _, primaries := range []int{3, 6, 16} {
			count := make([]int, primaries)
			for i := range series {
				count[slotOf(seriesKey("paypal-live", id(i)))*primaries/16384]++
			}
			want := series / primaries
			for primary, got := range count {
				if got < want*95/100 || got > want*105/100 {
					t.Errorf("%s: primary %d of %d has %d of %d series, want %d within 5 %%",
						name, primary+1, primaries, got, series, want)
				}
			}
		}
	}
}
