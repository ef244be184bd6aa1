package inbox

// URL is the database of an inbox.
func (b *Inbox) URL() string { return b.config.URL }

// ForgetAnswers turns the inbox into an inbox of the first weeks, which has no answers.
func (b *Inbox) ForgetAnswers() error {
	_, err := b.db.Exec(`ALTER TABLE inbox_donations DROP COLUMN accepted_answer`)
	return err
}

// TryToWrite tries to change the inbox of a Past.
func (p *Past) TryToWrite() error {
	_, err := p.at.exec(`UPDATE inbox_messages SET copies = copies + 1`)
	return err
}
