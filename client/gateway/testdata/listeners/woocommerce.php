<?php

// PayPal Standard of WooCommerce. It answers 500 unless PayPal confirms the message, and
// 200 to all other messages. An order is paid once: it ignores a later payment.
if (($_GET['wc-api'] ?? '') !== 'WC_Gateway_Paypal') {
    http_response_code(400);
    exit;
}
if (!$_POST || !verified()) {
    http_response_code(500);
    exit;
}
$order = field('custom');
$types = ['cart', 'instant', 'express_checkout', 'web_accept', 'masspay', 'send_money', 'paypal_here'];
if (!preg_match('/^order-/', $order) || booked("paid $order") || !in_array(strtolower(field('txn_type')), $types)) {
    exit;
}
switch (strtolower(field('payment_status'))) {
    case 'completed':
        book(field('mc_gross') === '25.00' && field('mc_currency') === 'EUR' ? "paid $order" : "on hold $order");
        break;
    case 'pending':
        book("on hold $order");
        break;
}
