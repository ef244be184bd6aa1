<?php

declare(strict_types=1);

namespace Noted\Exception;

/**
 * SETTLED_BY_ANOTHER: another attempt has settled the note. After processing, this means
 * that the donation was processed twice.
 */
final class SettledByAnother extends NoteGone
{
}
