<?php

// Paid Memberships Pro. It answers 200 whatever happens. A renewal is booked once for each
// transaction. The first payment of an order is booked, and told by mail, each time that
// it comes, whatever its status.
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
