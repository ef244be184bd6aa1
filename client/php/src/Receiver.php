<?php

declare(strict_types=1);

namespace Noted;

use Noted\Exception\Malformed;
use Noted\Exception\NotedException;
use Noted\Exception\NoteGone;
use Noted\Exception\NotSettled;
use Noted\Exception\Undecidable;
use Noted\PayPal\Form;
use Noted\Receiver\Answer;
use Noted\Receiver\IpnPostBack;
use Noted\Receiver\Refusal;
use Noted\Receiver\Verifier;
use Psr\Log\LoggerInterface;

/**
 * Takes what PayPal posts to …/paypal/ipn and …/paypal/webhook: verifies it, asks Noted,
 * and has each donation processed once. It does what the gateway in Go does;
 * public/receiver.php is a script around it.
 *
 * The answers to PayPal:
 *
 *     200  every donation in the message is settled, a duplicate, skipped, or handed to a person.
 *          Also where another attempt has settled one
 *          meanwhile, or an operator has released or forgotten it: the log has a line then,
 *          compare it by hand
 *     503  a donation is held by another caller, or PayPal, Noted or your callable failed: PayPal
 *          comes again, and the settled donations are duplicates then
 *     4xx  malformed, not verified, or not ours; nothing was noted. PayPal comes again too, so a
 *          mistake in the configuration loses nothing for days
 */
final class Receiver
{
    /** In bytes; far more than PayPal sends. */
    private const MAX_BODY = 256 << 10;
    /** In seconds. PayPal has its own schedule; other clients may obey it. */
    private const RETRY_AFTER = 30;
    /**
     * How many seconds a message may be worked on before no further donation of it is
     * begun: PayPal hangs up after 30, and its redelivery goes on where this one stopped.
     */
    private const WORK_TIME = 25.0;

    /** @var array<string, true> in lower case */
    private readonly array $accounts;
    private readonly \Closure $log;

    /**
     * @param \Closure(Pair, Note, Hold, string): mixed $process processes one donation: the
     *     pair, what Noted remembers of it (donationId is the
     *     idempotency key), the hold (see Hold::extend), and the body of the message. If
     *     it throws, PayPal comes again
     * @param \Closure(Pair, string, string): mixed $undecided keeps for a person what Noted
     *     cannot decide: the pair, a reason such as
     *     "SERIES_FULL", and the body. It must keep them, because
     *     PayPal does not come again. It may get a message more than once
     * @param string $ledger the book that the donations belong to; empty is a ledger too
     * @param string $sandboxLedger the book that PayPal's tests belong to, which needs a name;
     *     empty refuses them, as the gateway in Go does
     * @param ?Verifier $ipn a Receiver\IpnPostBack; null for no such path
     * @param list<string> $accounts the receiver ids and e-mail addresses that are ours; an IPN
     *     to another is refused
     * @param ?Verifier $webhook a Receiver\WebhookSignature or Receiver\WebhookApi; null for no
     *     such path
     * @param null|LoggerInterface|\Closure(string): mixed $log a PSR-3 logger, or a function of
     *     a line. It gets types, donation ids and reasons, and no other part of a message; null
     *     for error_log
     * @param string $ipnPath the end of the path that PayPal posts IPNs to
     * @param string $webhookPath the end of the path that PayPal posts webhooks to
     */
    public function __construct(
        private readonly ClientInterface $client,
        private readonly \Closure $process,
        private readonly \Closure $undecided,
        private readonly string $ledger = '',
        private readonly string $sandboxLedger = '',
        private readonly ?Verifier $ipn = null,
        array $accounts = [],
        private readonly ?Verifier $webhook = null,
        null|LoggerInterface|\Closure $log = null,
        private readonly string $ipnPath = '/paypal/ipn',
        private readonly string $webhookPath = '/paypal/webhook',
    ) {
        $accounts = array_filter(
            array_map(static fn(string $account): string => strtolower(trim($account)), $accounts),
        );
        $this->accounts = array_fill_keys($accounts, true);
        $this->log = match (true) {
            $log === null => static fn(string $line): bool => error_log("noted: $line"),
            $log instanceof \Closure => static fn(string $line): mixed => $log($line),
            default => static fn(string $line, string $level = 'warning'): mixed => $log->log($level, $line),
        };
        if ($ipnPath === '' || $webhookPath === '' || $ipnPath === $webhookPath) {
            throw new \InvalidArgumentException(
                'making a receiver: ipnPath and webhookPath must be two different paths',
            );
        }
        if ($ipn === null && $webhook === null) {
            throw new \InvalidArgumentException(
                'making a receiver: give it a verifier for IPNs, or for webhooks, or both',
            );
        }
        if (($ipn === null) !== ($this->accounts === [])) {
            throw new \InvalidArgumentException(
                'making a receiver: IPNs need a verifier and the accounts that are ours, since PayPal also verifies messages that it has sent to others',
            );
        }
        if ($sandboxLedger !== '' && $sandboxLedger === $ledger) {
            throw new \InvalidArgumentException(
                "making a receiver: both ledgers are $ledger: PayPal's tests would count as donations",
            );
        }
    }

    /**
     * Answers the request that this script was started for. Output of the callables is
     * dropped, because it would become the answer. If a callable ends the program (exit, a
     * fatal error), PayPal comes again.
     */
    public function serve(): void
    {
        ignore_user_abort(true); // PayPal's hanging up must not end the work: it would be done twice
        if (headers_sent($file, $line)) {
            ($this->log)(
                "$file:$line has answered already, with " .
                    http_response_code() .
                    ', before the message was processed; print nothing before serve()',
            );
        } else {
            http_response_code(503); // PHP's own is 200, also after a fatal error where errors are displayed
        }
        $level = ob_get_level();
        ob_start();
        $headers = [];
        foreach ($_SERVER as $name => $value) {
            if (is_string($value) && str_starts_with((string) $name, 'HTTP_')) {
                $headers[strtr(strtolower(substr($name, 5)), '_', '-')] = $value;
            }
        }
        $headers['content-type'] = (string) ($_SERVER['CONTENT_TYPE'] ?? '');
        $path = (string) parse_url((string) ($_SERVER['REQUEST_URI'] ?? ''), PHP_URL_PATH);
        $body = (string) file_get_contents('php://input', length: self::MAX_BODY + 1);
        $answer = $this->handle((string) ($_SERVER['REQUEST_METHOD'] ?? ''), $path, $headers, $body);
        while (ob_get_level() > $level && ob_end_clean()) {
            // also a buffer that a callable has begun and not ended
        }
        http_response_code($answer->status);
        foreach ($answer->headers as $name => $value) {
            header("$name: $value");
        }
        echo $answer->body;
    }

    /**
     * Takes one message, from its first byte to the answer.
     *
     * @param array<string, string|list<string>> $headers by name, in any case: as Symfony, Laravel
     *     and PSR-7 give them
     * @param string $body the bytes as they came
     */
    public function handle(string $method, string $path, array $headers, string $body): Answer
    {
        try {
            $this->take(strtoupper($method), $path, self::single($headers), $body);
            return new Answer(200);
        } catch (Refusal $e) {
            ($this->log)("refused with {$e->status} {$e->reason}: {$e->getMessage()}");
        } catch (\Throwable $e) {
            // a bug; PayPal comes again, and meanwhile a person reads the log
            ($this->log)('failed: ' . get_class($e) . " at {$e->getFile()}:{$e->getLine()}", 'error');
            $e = Refusal::again('internal', 'something went wrong here; come again');
        }
        $headers = ['Content-Type' => 'application/json', 'Cache-Control' => 'no-store'];
        if ($e->status === 405) {
            $headers['Allow'] = 'POST';
        }
        if ($e->status === 503) {
            $headers['Retry-After'] = (string) self::RETRY_AFTER;
        }
        $body = json_encode(
            ['error' => $e->getMessage(), 'reason' => $e->reason],
            JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES,
        );
        return new Answer($e->status, $headers, "$body\n");
    }

    /**
     * Headers by their names in lower case. A header that came twice is not PayPal's.
     *
     * @param array<string, string|list<string>> $headers
     * @return array<string, string>
     */
    private static function single(array $headers): array
    {
        $single = [];
        foreach ($headers as $name => $values) {
            $values = array_values((array) $values);
            $name = strtolower((string) $name);
            $single[$name] = isset($single[$name]) || count($values) !== 1 ? '' : (string) $values[0];
        }
        return $single;
    }

    /** @param array<string, string> $headers */
    private function take(string $method, string $path, array $headers, string $body): void
    {
        [$verifier, $type, $identify] = match (true) {
            $this->ipn !== null && str_ends_with($path, $this->ipnPath) => [
                $this->ipn,
                'application/x-www-form-urlencoded',
                PayPal::identifyIpn(...),
            ],
            $this->webhook !== null && str_ends_with($path, $this->webhookPath) => [
                $this->webhook,
                'application/json',
                PayPal::identifyWebhook(...),
            ],
            default => throw new Refusal(
                404,
                'not_found',
                "there is nothing at this path; PayPal posts to $this->ipnPath and $this->webhookPath",
            ),
        };
        if ($method !== 'POST') {
            throw new Refusal(405, 'method', 'only POST is taken here');
        }
        if (
            strtolower(trim(explode(';', $headers['content-type'] ?? '')[0])) !== $type ||
            ($headers['content-encoding'] ?? '') !== ''
        ) {
            throw new Refusal(
                415,
                'content_type',
                "the Content-Type must be $type, without a Content-Encoding: the bytes are verified as they come",
            );
        }
        if (strlen($body) > self::MAX_BODY) {
            throw new Refusal(413, 'too_large', 'the message has more than ' . self::MAX_BODY . ' bytes');
        }
        if ($body === '') {
            throw new Refusal(400, 'malformed', 'the body is empty');
        }
        $noSandbox = new Refusal(
            403,
            'sandbox',
            "this is a test of PayPal's sandbox, and there is no ledger for tests here",
        );
        if ($this->sandboxLedger === '' && $verifier === $this->ipn && IpnPostBack::isTest($body)) {
            throw $noSandbox; // before PayPal is asked: a forger's test_ipn causes no question
        }
        $test = $verifier->verify($headers, $body);
        if ($test && $this->sandboxLedger === '') {
            throw $noSandbox;
        }
        try {
            $identified = $identify($body);
        } catch (Malformed $e) {
            throw new Refusal(400, 'malformed', $e->getMessage());
        }
        foreach ($identified->warnings as $warning) {
            ($this->log)("{$identified->type}: $warning");
        }
        // The signature covers the id of our webhook: PayPal sends it nothing of another account.
        $ours = $verifier === $this->ipn ? $this->isOurs(Form::parse($body)) : true;
        if ($ours === false) {
            throw new Refusal(403, 'foreign', 'the message is about an account that is not ours');
        }
        $this->work($identified, $test ? $this->sandboxLedger : $this->ledger, $body, $ours !== null);
    }

    /**
     * Says whether an IPN is about an account of ours; null if it names no account. PayPal
     * verifies every IPN that it has sent, to any account, so a stranger could post one of
     * his own here. receiver_id and receiver_email are PayPal's words. business may be the
     * sender's, and counts only if both are missing.
     */
    private function isOurs(Form $form): ?bool
    {
        $value = static fn(string $name): string => strtolower(trim($form->value($name)));
        $names = array_filter([$value('receiver_id'), $value('receiver_email')]);
        if ($names === []) {
            $names = array_filter([$value('business')]);
        }
        if ($names === []) {
            return null;
        }
        foreach ($names as $name) {
            if (isset($this->accounts[$name])) {
                return true;
            }
        }
        return false;
    }

    /**
     * Processes the donations of a verified message. The failure of one does not stop the
     * others: the answer becomes 503, and the redelivery finds the successful ones settled.
     */
    private function work(Identified $identified, string $ledger, string $body, bool $named): void
    {
        if ($identified->skipped !== '') {
            if ($identified->unknown) {
                ($this->log)("UNKNOWN: {$identified->skipped}; it may have been a donation: look at it", 'error');
            }
            return;
        }
        $began = hrtime(true);
        $trouble = null;
        foreach ($identified->pairs as $i => $pair) {
            if ($i > 0 && (hrtime(true) - $began) / 1e9 > self::WORK_TIME) {
                throw $trouble ??
                    Refusal::again(
                        'postponed',
                        'the message tells of more donations than there was time for; come again',
                    );
            }
            $pair = new Pair($pair->donation->inLedger($ledger), $pair->message);
            try {
                if ($named) {
                    $this->settle($pair, $body);
                } else {
                    // A refusal would lose a genuine message, and a note would count a
                    // stranger's. PayPal leaves the receiver out of some adjustments.
                    $this->leaveToPerson($pair, 'RECEIVER_MISSING', $body);
                }
            } catch (Refusal $e) {
                $trouble = $e;
            }
        }
        if ($trouble !== null) {
            throw $trouble;
        }
    }

    private function settle(Pair $pair, string $body): void
    {
        $id = '';
        $failed = null;
        try {
            $verdict = $this->client->once($pair->donation, $pair->message, function (
                Note $note,
                Hold $hold
            ) use (
                $pair,
                $body,
                &$id,
                &$failed,
            ): void {
                $id = $note->donationId;
                try {
                    ($this->process)($pair, $note, $hold, $body);
                } catch (\Throwable $e) {
                    $failed = $e; // it may itself be a NotedException
                    throw $e;
                }
            });
        } catch (\Throwable $e) {
            if ($failed !== null) {
                ($this->log)("donation $id was not processed: " . get_class($failed) . ": {$failed->getMessage()}");
                throw Refusal::again('process', 'the donation could not be processed; come again');
            }
            match (true) {
                $e instanceof NotSettled => $this->tellNotSettled($id, $e),
                $e instanceof Undecidable
                    => $this->leaveToPerson($pair, $e->reason !== '' ? $e->reason : 'INVALID_REQUEST', $body),
                $e instanceof NotedException => throw $this->away($e),
                default => throw $e,
            };
            return;
        }
        if ($verdict === Verdict::Held) {
            throw Refusal::again('held', 'another is processing this donation; come again');
        }
    }

    /**
     * After processing, the note is not final. If another attempt has settled it (the books
     * saw its id twice), or an operator intervened, a redelivery would be another donation
     * and double this one. Otherwise the redelivery takes the note over and processes the
     * donation again, under the same id.
     */
    private function tellNotSettled(string $id, NotSettled $e): void
    {
        if (!($e->getPrevious() instanceof NoteGone)) {
            ($this->log)("donation $id: {$e->getMessage()}");
            throw Refusal::again('noted', 'Noted could not settle; come again');
        }
        ($this->log)(
            "donation $id: {$e->getMessage()}; " .
                'compare it by hand: it may have been processed twice, or be processed again',
            'error',
        );
    }

    private function away(NotedException $e): Refusal
    {
        ($this->log)('not noted: ' . ($e->reason !== '' ? $e->reason : $e->status) . ": {$e->problem}");
        return Refusal::again('noted', 'Noted could not be asked; come again');
    }

    private function leaveToPerson(Pair $pair, string $reason, string $body): void
    {
        try {
            ($this->undecided)($pair, $reason, $body);
        } catch (\Throwable $e) {
            ($this->log)("undecided ($reason), and not kept for a person: " . get_class($e) . ": {$e->getMessage()}", 'error');
            throw Refusal::again('undecided', 'the message could not be kept for a person; come again');
        }
        ($this->log)("undecided ($reason): kept for a person");
    }
}
