<?php

declare(strict_types=1);

namespace Noted\Receiver;

use Noted\PayPal\Form;

/**
 * Asks PayPal whether it has sent an IPN: posts the bytes back, and PayPal says VERIFIED
 * or INVALID.
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
                "verifying IPNs at $url: it must be an https URL: whoever is between could call a forged IPN verified",
            );
        }
    }

    /**
     * Says whether an IPN claims to be a test. It is believed only as far as it harms
     * nobody: a genuine one is verified by the sandbox then.
     */
    public static function isTest(string $body): bool
    {
        return !in_array(Form::parse($body)->value('test_ipn'), ['', '0'], true);
    }

    /**
     * Only PayPal's two words count, with 200: an error page, a redirect or silence says
     * nothing, and PayPal comes again. INVALID is a refusal for good, although PayPal is
     * known to say it now and then of a genuine one: that comes again too.
     */
    public function verify(array $headers, string $body): bool
    {
        $test = self::isTest($body);
        $url = $this->url !== '' ? $this->url : ($test ? self::SANDBOX_URL : self::URL);
        try {
            // The order, the percent signs and the charset must be PayPal's own: nothing
            // is decoded in between.
            $type = 'Content-Type: application/x-www-form-urlencoded';
            [$status, $answer] = Http::ask($url, 'cmd=_notify-validate&' . $body, [$type], $this->timeout);
            $why = $status === 200 ? 'it said neither VERIFIED nor INVALID' : "it answered with HTTP status $status";
        } catch (\RuntimeException $e) {
            [$status, $answer, $why] = [0, '', $e->getMessage()];
        }
        return match ($status === 200 ? trim($answer) : '') {
            'VERIFIED' => $test,
            'INVALID' => throw new Refusal(400, 'invalid', 'PayPal says that it has not sent this message'),
            default => throw Refusal::again(
                'verifier',
                "PayPal could not be asked whether it has sent this message ($why)",
            ),
        };
    }
}
