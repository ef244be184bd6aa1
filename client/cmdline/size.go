package cmdline

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"
)

// SizeFlag is a number of bytes: 262144, 256KiB or 1MiB.
type SizeFlag = cli.FlagBase[int64, cli.NoConfig, sizeValue]

type sizeValue int64

// Create and ToString belong to cli.ValueCreator, the other methods to cli.Value.
func (sizeValue) Create(value int64, to *int64, _ cli.NoConfig) cli.Value {
	*to = value
	return (*sizeValue)(to)
}

func (sizeValue) ToString(n int64) string { v := sizeValue(n); return v.String() }

func (v *sizeValue) Set(text string) error {
	number, unit := text, int64(1)
	for suffix, size := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20} {
		if cut, found := strings.CutSuffix(text, suffix); found {
			number, unit = strings.TrimSpace(cut), size
		}
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is not a size; write 262144 or 256KiB", text)
	}
	*v = sizeValue(n * unit)
	return nil
}

func (v *sizeValue) Get() any { return int64(*v) }

func (v *sizeValue) String() string {
	if *v%(1<<10) == 0 {
		return fmt.Sprintf("%dKiB", *v>>10)
	}
	return fmt.Sprint(int64(*v))
}
