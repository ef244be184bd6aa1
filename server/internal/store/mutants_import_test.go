//go:build mutants

package store

// What mutants of an import are found by.
const (
	byImport        = `^TestImportIntoNothing$`
	byImportFurther = `^TestImportTakesTheFurtherState$`
	byImportAnew    = `^TestImportOfWhatWasNotedAnew$`
	byImportForgot  = `^TestImportAfterForget$`
	byImportLives   = `^TestImportKeepsLives$`
)

// The faults of export.lua and import.lua. They join the others before the process picks
// its own: the init of this file runs before that of mutants_test.go.
func init() {
	mutants = append(mutants,
		mutant{"a series with a floor alone is not exported", "export.lua", " and notes.floor == 0 then", " then", byImportForgot},
		mutant{"an export has no floor", "export.lua", "now, notes.text,", "now, string.gsub(notes.text, '^1~%w+%c', VERSION),", byImportForgot},
		mutant{
			"the file's state never wins", "import.lua",
			"  if further(other, note) then\n", "  if false then\n", byImportFurther,
		},
		mutant{
			"the file's state always wins", "import.lua",
			"  if further(other, note) then\n", "  if true then\n", byImportFurther,
		},
		mutant{
			"a later attempt undoes a settlement", "import.lua",
			"  if settled(a) or settled(b) then\n",
			"  if (settled(a) or settled(b)) and (a.attempt or 1) <= (b.attempt or 1) then\n", byImportFurther,
		},
		mutant{"a release is not further", "import.lua", "return a.released and not b.released", "return false", byImportFurther},
		mutant{"a later hold is not further", "import.lua", "return a.held > b.held", "return false", byImportFurther},
		mutant{"the attempt is not imported", "import.lua", "note.attempt, note.token = other.attempt,", "note.token =", byImportFurther},
		mutant{
			"sightings are not united", "import.lua",
			"  local changed = unite(note, other)\n", "  local changed = false\n", byImportFurther,
		},
		mutant{
			"a note that was forgotten by hand comes back", "import.lua",
			"elseif other.noted <= notes.floor then", "elseif false then", byImportForgot,
		},
		mutant{
			"a floor is not imported", "import.lua",
			"math.max(notes.floor, others.floor)", "notes.floor", byImport,
		},
		mutant{
			"an open note joins a settled one", "import.lua",
			"elseif here and not settled(other) then", "elseif false then", byImportAnew,
		},
		mutant{
			"a settlement of the file does not reach the note here", "import.lua",
			"        here.held, here.released = false, false\n", "", byImportAnew,
		},
		mutant{
			"messages are not compared", "import.lua",
			"if named(seen.message) and has_message(b, seen.message) then",
			"if not named(seen.message) and has_message(b, seen.message) then", byImportAnew,
		},
		mutant{"a settled note of the file is not added", "import.lua", "    added[#added + 1] = other\n", "", byImportAnew},
		mutant{"an import lives forever", "import.lua", "'PXAT', at)", "'PXAT', at * 2)", byImportLives},
	)
}
