<?php

declare(strict_types=1);

namespace Noted\Receiver;

use Noted\PayPal\Form;

/**
 * Asks PayPal whether it has sent an IPN: it posts the bytes back, and PayPal answers
 * VERIFIED or INVALID.
 */
final class IpnPostBack implements Verifier
{
    public const URL = 'https://ipnpb.paypal.com/cgi-bin/webscr';
    public const SANDBOX_URL = 'https://ipnpb.sandbox.paypal.com/cgi-bin/webscr';

    /**
     * @param string $url where to post back; empty for PayPal's, the sandbox's for an IPN with
     *     test_ipn
     * @param float $timeout in seconds
     */
    public function __construct(private readonly string $url = '', private readonly float $timeout = 10.0)
    {
        if ($url !== '' && !Http::isConfidential($url)) {
            throw new \InvalidArgumentException(
                "verifying IPNs at $url: it must be an https URL: anyone on the way could call a forged IPN verified",
            );
        }
    }

    /**
     * Says whether an IPN claims to be a test. The claim only chooses who verifies it:
     * the sandbox verifies a test.
     */
    public static function isTest(string $body): bool
    {
        return !in_array(Form::parse($body)->value('test_ipn'), ['', '0'], true);
    }

    /**
     * Only PayPal's two words count, with 200. An error page, a redirect or silence
     * decides nothing, and PayPal comes again. INVALID is a refusal for good. PayPal is
     * known to answer it to a genuine message now and then: that message comes again too.
     */
    public function verify(array $headers, string $body): bool
    {
        $test = self::isTest($body);
        $url = $this->url !== '' ? $this->url : ($test ? self::SANDBOX_URL : self::URL);
        try {
            // The order, the percent signs and the charset must be PayPal's own, so the
            // body is never decoded on the way.
            $type = 'Content-Type: application/x-www-form-urlencoded';
            [$status, $answer] = Http::ask($url, 'cmd=_notify-validate&' . $body, [$type], $this->timeout);
            $why = $status === 200 ? 'it said neither VERIFIED nor INVALID' : "it answered with HTTP status $status";
        } catch (\RuntimeException $e) {
            [$status, $answer, $why] = [0, '', $e->getMessage()];
        }
        return match ($status === 200 ? trim($answer) : '') {
            'VERIFIED' => $test,
            'INVALID' => throw new Refusal(400, 'invalid', 'PayPal says that it did not send this message'),
            default => throw Refusal::again(
                'verifier',
                "PayPal could not be asked whether it sent this message ($why)",
            ),
        };
    }
}
