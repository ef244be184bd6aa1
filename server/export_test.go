package server

import (
	"time"
)

// Age sets how old connections get, and how long those may still stay that do not go when
// they are asked to.
func (c *Config) Age(age, grace time.Duration) { c.age, c.grace = age, grace }
