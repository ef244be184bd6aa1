package inbox

// URL is the database of an inbox.
func (b *Inbox) URL() string { return b.config.URL }

// TryToWrite tries to change the inbox of a Past.
func (p *Past) TryToWrite() error {
	_, err := p.at.exec(`UPDATE inbox_messages SET copies = copies + 1`)
	return err
}
