<?php

// A collector of traces by OTLP over HTTP, run by php -S. It appends what it gets to the file
// "spans" in the folder NOTED_TEST_FOLDER.

declare(strict_types=1);

file_put_contents(getenv('NOTED_TEST_FOLDER') . '/spans', file_get_contents('php://input'), FILE_APPEND | LOCK_EX);
header('Content-Type: application/x-protobuf');
