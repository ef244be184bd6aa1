<?php

// The functions of WordPress that public/wordpress.php calls.

declare(strict_types=1);

function add_action(string $name, callable $do, int $priority = 10, int $arguments = 1): void
{
    global $hooks;
    $hooks[$name][] = static fn(mixed ...$given): mixed => $do(...array_slice($given, 0, $arguments));
}

function has_action(string $name): bool
{
    global $hooks;
    return isset($hooks[$name]);
}

function do_action(string $name, mixed ...$arguments): void
{
    global $hooks;
    array_map(static fn(callable $do): mixed => $do(...$arguments), $hooks[$name] ?? []);
}

function absint(mixed $number): int
{
    return abs((int) $number);
}

/** @param array<string, mixed> $route */
function register_rest_route(string $namespace, string $path, array $route): void
{
    $given = substr(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), strlen('/wp-json'));
    if ($route['methods'] !== $_SERVER['REQUEST_METHOD'] || !preg_match("@^/$namespace$path$@i", $given, $found)) {
        http_response_code(404);
        return;
    }
    $request = new WP_REST_Request($_SERVER['REQUEST_METHOD'], $given);
    $request->set_url_params(array_filter($found, is_string(...), ARRAY_FILTER_USE_KEY));
    $request->set_headers(getallheaders());
    $request->set_body(file_get_contents('php://input'));
    $answer = $route['callback']($request);
    http_response_code($answer->get_status());
    foreach ($answer->get_headers() as $name => $value) {
        header("$name: $value");
    }
    echo json_encode($answer->get_data());
}
