<?php

declare(strict_types=1);

namespace Noted\Exception;

/** NOTE_NOT_FOUND: the note was forgotten, or never existed. */
final class NoteNotFound extends NoteGone
{
}
