<?php

// PayPal Standard and PayPal Donations of GiveWP. PayPal Standard always answers 200,
// even if PayPal does not confirm the message. PayPal Donations fails with 500 if
// PayPal's API does not confirm a known event. Both publish a donation once.
function publish(string $donation): void
{
    if (!booked("published $donation")) {
        book("published $donation");
    }
}

switch ($_GET['give-listener'] ?? '') {
    case 'IPN':
        if (!verified() || !preg_match('/^donation-/', field('custom'))) {
            exit;
        }
        book('note ' . field('custom')); // "IPN received"
        if (strtolower(field('payment_status')) === 'completed') {
            publish(field('custom'));
        }
        break;
    case 'paypal-commerce':
        $event = json_decode((string) file_get_contents('php://input'));
        if (!preg_match('/^PAYMENT\.CAPTURE\.(COMPLETED|DENIED|REFUNDED)$/', $event->event_type)) {
            exit;
        }
        $question = ['webhook_id' => getenv('WEBHOOK_ID'), 'webhook_event' => $event];
        foreach (getallheaders() as $name => $value) {
            if (preg_match('/^paypal-(transmission-\w+|cert-url|auth-algo)$/i', $name, $found)) {
                $question[strtolower(strtr($found[1], '-', '_'))] = $value;
            }
        }
        $answer = json_decode(ask(getenv('VERIFY_API'), json_encode($question), 'application/json'));
        if (($answer->verification_status ?? '') !== 'SUCCESS') {
            http_response_code(500);
            exit;
        }
        publish('donation-' . $event->resource->id);
        break;
}
