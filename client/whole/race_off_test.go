//go:build whole && !race

package whole_test

const raceDetector = false
