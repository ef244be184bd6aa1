<?php

declare(strict_types=1);

namespace Noted\Exception;

/** NOTE_NOT_FOUND: the note is forgotten, or never was. */
final class NoteNotFound extends NotedException
{
}
