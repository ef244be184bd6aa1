<?php

// Paid Memberships Pro. It always answers 200. It books a renewal once for each
// transaction. It books the first payment of an order, and sends mails about it, each
// time that it comes, at any status.
if (($_GET['action'] ?? '') !== 'ipnhandler') {
    http_response_code(400);
    exit;
}
if (!verified() || !in_array(getenv('ACCOUNT'), [field('receiver_email'), field('business')], true)) {
    exit;
}
switch (field('txn_type')) {
    case 'web_accept':
        if (field('item_number') !== '') {
            book('member ' . field('item_number'));
        }
        break;
    case 'recurring_payment':
        $order = 'order ' . field('txn_id');
        if (field('payment_status') === 'Completed' && !booked($order)) {
            book($order);
        }
        break;
}
