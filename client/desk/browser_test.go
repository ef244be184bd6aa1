package desk_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// This file is a person with a real browser.

// chromium is one browser for all tests. Each test has its own tabs.
var chromium struct {
	once   sync.Once
	ctx    context.Context
	cancel []context.CancelFunc
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.ctx != nil {
		_ = chromedp.Cancel(chromium.ctx) // it waits for the browser and removes its profile
	}
	for _, cancel := range chromium.cancel {
		cancel()
	}
	os.Exit(code)
}

func startChromium() {
	path, err := exec.LookPath("chromium")
	if err != nil {
		chromium.err = fmt.Errorf("%w; .ci/need chromium installs it", err)
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	chromium.cancel = append(chromium.cancel, cancel)
	chromium.ctx, cancel = chromedp.NewContext(allocator)
	chromium.cancel = append(chromium.cancel, cancel)
	chromium.err = chromedp.Do(chromium.ctx, chromedp.Navigate("about:blank"))
}

// A device shows a page in one size and one theme.
type device struct {
	name   string
	width  int64
	height int64
	dark   bool
}

var devices = []device{
	{"desktop-light", 1280, 900, false},
	{"desktop-dark", 1280, 900, true},
	{"phone-light", 375, 812, false},
	{"phone-dark", 375, 812, true},
}

// A tab is one page of the browser.
type tab struct {
	h   *harness
	t   testing.TB
	ctx context.Context
}

func (h *harness) tab() *tab {
	h.t.Helper()
	chromium.once.Do(startChromium)
	if chromium.err != nil {
		h.t.Fatal(chromium.err)
	}
	ctx, cancel := chromedp.NewContext(chromium.ctx)
	h.t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	h.t.Cleanup(cancel)
	return &tab{h, h.t, ctx}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatalf("%v\n%s", err, b.says())
	}
}

// command sends a command without an answer to the browser.
func command[P any](cmd cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, cmd, params)
		return err
	})
}

// as makes the tab look as on a device with a theme.
func (b *tab) as(d device) {
	b.t.Helper()
	scheme := "light"
	if d.dark {
		scheme = "dark"
	}
	b.do(
		chromedp.EmulateViewport(d.width, d.height),
		command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		}),
	)
}

// withoutScript turns scripts off in the pages that are opened from now on.
func (b *tab) withoutScript() { b.t.Helper(); b.scripts(false) }

func (b *tab) scripts(on bool) {
	b.t.Helper()
	b.do(command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on}))
}

func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.h.desk.URL + path))
}

// says is the text of the page, for people.
func (b *tab) says() string {
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.title + '\\n' + document.body.innerText"))
	if err != nil {
		return err.Error()
	}
	return text
}

func (b *tab) want(wants ...string) {
	b.t.Helper()
	wantAll(b.t, "the page", b.says(), wants...)
}

// press presses a key and waits for the page that it leads to.
func (b *tab) press(key string) {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.WaitEvent(page.LoadEventFired, nil, chromedp.KeyEvent(key))); err != nil {
		b.t.Fatal(err)
	}
}

// tabTo presses the tab key until an element has the focus, as a person without a mouse
// does. The focus must be visible too.
func (b *tab) tabTo(what, selector string) {
	b.t.Helper()
	for range 80 {
		b.do(chromedp.KeyEvent(kb.Tab))
		state, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](fmt.Sprintf(
			`(e => !e.matches(%q) ? "" : getComputedStyle(e).outlineStyle)(document.activeElement)`, selector)))
		if err != nil {
			b.t.Fatal(err)
		}
		switch state {
		case "":
		case "none":
			b.t.Fatalf("the focus on %s cannot be seen", what)
		default:
			return
		}
	}
	b.t.Fatalf("the tab key does not reach %s\n%s", what, b.says())
}

func (b *tab) typed(text string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(text))
}

var axeSource = sync.OnceValues(func() (string, error) {
	content, err := os.ReadFile(filepath.Join("..", "..", ".tools", "axe", "node_modules", "axe-core", "axe.min.js"))
	return string(content), err
})

// loadAxe brings axe into the page that is open.
func (b *tab) loadAxe() {
	b.t.Helper()
	source, err := axeSource()
	if err != nil {
		b.t.Fatalf("%v; .ci/need axe installs it", err)
	}
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[any](source+";null")); err != nil {
		b.t.Fatalf("loading axe: %v", err)
	}
}

// onEveryDevice looks at the open page on each device and in each theme. Axe is a
// script, so scripts are on meanwhile.
func (b *tab) onEveryDevice(name string) {
	b.t.Helper()
	b.scripts(true)
	b.loadAxe()
	for _, d := range devices {
		b.as(d)
		b.axe(name + ", " + d.name)
		b.layout(name+", "+d.name, d.width > 1000)
		b.screenshot(name + "-" + d.name)
	}
	b.as(devices[0])
}

// axe finds barriers for people with disabilities, and pages wider than their screen.
func (b *tab) axe(name string) {
	b.t.Helper()
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`axe.run().then(r => JSON.stringify({
		passes: r.passes.length,
		violations: r.violations.map(v => v.id + ": " + v.help + " " + v.nodes.map(n => n.html).join(" | ")),
	}))`, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("running axe: %v", err)
	}
	var result struct {
		Passes     int
		Violations []string
	}
	if err := json.Unmarshal([]byte(found), &result); err != nil {
		b.t.Fatal(err)
	}
	if len(result.Violations) > 0 || result.Passes < 10 {
		b.t.Errorf("%s: axe passes %d rules and finds:\n%s", name, result.Passes, strings.Join(result.Violations, "\n"))
	}
	over, err := chromedp.Run(b.ctx, chromedp.Evaluate[int]("document.documentElement.scrollWidth - window.innerWidth"))
	if err != nil {
		b.t.Fatal(err)
	}
	if over > 0 {
		b.t.Errorf("%s: the page is %d pixels wider than the screen", name, over)
	}
}

// flaws finds what a picture of a page would show and axe does not: links that take a second
// line beside free room, edges that do not stand below each other, and a table that is cut
// without a sign that there is more of it.
const flaws = `(wide => {
	const found = [], left = e => Math.round(e.getBoundingClientRect().left + parseFloat(getComputedStyle(e).paddingLeft));
	const links = [...document.querySelectorAll("nav li")];
	if (wide && new Set(links.map(e => Math.round(e.getBoundingClientRect().top))).size > 1) found.push("the links take two lines");
	for (const e of document.querySelectorAll("footer"))
		if (left(e) != left(document.querySelector("main"))) found.push("the foot of the page stands beside its edge");
	for (const e of document.querySelectorAll(".trial"))
		if (left(e) != left(document.querySelector(".top"))) found.push("the remark on the trial stands beside the edge");
	for (const e of document.querySelectorAll(".table")) {
		const seen = getComputedStyle(e), table = getComputedStyle(e.querySelector("table"));
		if (!e.scrollWidth || e.scrollWidth <= e.clientWidth) continue;
		if (!seen.backgroundAttachment.includes("local") || table.backgroundColor != "rgba(0, 0, 0, 0)")
			found.push("a table is cut without a sign");
	}
	return found.join("; ");
})(%v)`

// layout looks for flaws.
func (b *tab) layout(name string, wide bool) {
	b.t.Helper()
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](fmt.Sprintf(flaws, wide)))
	if err != nil || found != "" {
		b.t.Errorf("%s: %s %v", name, found, err)
	}
}

// screenshot keeps a picture of the whole page: go test -artifacts -outputdir DIR.
func (b *tab) screenshot(name string) {
	b.t.Helper()
	if wanted := flag.Lookup("test.artifacts"); wanted == nil || wanted.Value.String() != "true" {
		return
	}
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.t.ArtifactDir(), name+".png"), picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
