<?php

// CiviCRM, PayPal Standard. It finds its contribution by the JSON in custom, and always
// answers 200. Its newer releases ask PayPal about a message, its older releases do not.
$about = json_decode(field('custom'), true) ?? [];
$path = (string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if (!preg_match('#^/civicrm/payment/ipn/\d+$#', $path) || !isset($about['module']) || field('invoice') === '') {
    exit('Invalid or missing data');
}
if (getenv('VERIFY_URL') !== '' && !verified()) {
    exit;
}
if (isset($about['contributionRecurID'])) {
    if (field('txn_type') !== 'subscr_payment' || field('payment_status') !== 'Completed') {
        exit('Failure: Invalid parameters<p>');
    }
    if (booked('contribution ' . field('txn_id'))) {
        exit('Success: Contribution has already been handled<p>');
    }
    book('contribution ' . field('txn_id'));
    exit;
}
if (field('payment_status') === 'Completed') {
    if (booked('contribution ' . $about['contributionID'])) {
        exit('Success: Contribution has already been handled<p>');
    }
    book('contribution ' . $about['contributionID']);
}
