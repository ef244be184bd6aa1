<?php

declare(strict_types=1);

namespace Noted;

/** The rule that decided, strongest first. The values are the contract's names. */
enum Evidence: string
{
    /** There is no note. Only Existence has it. */
    case None = 'EVIDENCE_UNSPECIFIED';
    case New = 'EVIDENCE_NEW';
    case SameRequest = 'EVIDENCE_SAME_REQUEST';
    case SameMessage = 'EVIDENCE_SAME_MESSAGE';
    case SameTransaction = 'EVIDENCE_SAME_TRANSACTION';
    case Paired = 'EVIDENCE_PAIRED';
    case TakenOver = 'EVIDENCE_TAKEN_OVER';
}
