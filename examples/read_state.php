<?php
// A reader of the state file for PHP 8.1 or later, 64 bits, with the extension sodium (part of PHP).
//
// php examples/read_state.php [--seen FILE] STATE_FILE AGENT KEY_ID=PUBLIC_KEY.pem...
//
// Prints the agent's tier and why. As a library: (new StateReader($path, [$keyId => $pem], $seen))->tier($agent).
// It keeps the rules of docs/state-file.md but one: it does not look for an operator's override.

declare(strict_types=1);

final class StateReader
{
    private const MAX_BYTES = 16 * 1024 * 1024;
    private const TAIL = '/,"key_id":"([A-Za-z0-9._-]{1,64})","signature":"([A-Za-z0-9+\/=]{43,88})"\}\n?\z/';
    private const INSTANT = '/\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\z/';
    // What stands before the 32 bytes of an Ed25519 key in a PEM file (RFC 8410).
    private const ED25519 = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

    private array $mark = [0, 0];

    // $keys: key id => Ed25519 public key as PEM. $seen: a file that remembers the newest document, or null.
    public function __construct(private string $path, private array $keys, private ?string $seen = null)
    {
    }

    // The agent's tier and the reason; 3 whatever goes wrong.
    public function tier(string $agent): array
    {
        try {
            $agent !== '' || $this->refuse('no agent was named');
            $state = $this->verified($this->bytes());
            $this->checkForm($state);
            $this->checkVersion($state->epoch, $state->seq);
            $this->checkFresh($state);
            $isListed = property_exists($state->agents, $agent);
            return [$isListed ? $state->agents->$agent->tier : $state->unlisted_tier,
                    $isListed ? 'listed' : 'not listed'];
        } catch (Throwable $error) {
            return [3, $error->getMessage()];
        }
    }

    private function refuse(string $why): never
    {
        throw new RuntimeException($why);
    }

    private function bytes(): string
    {
        // PHP cannot open without following links or waiting for a pipe: look before and after.
        clearstatcache();
        $before = @lstat($this->path) ?: $this->refuse('missing');
        ($before['mode'] & 0o170000) === 0o100000 || $this->refuse('not a regular file');
        $file = @fopen($this->path, 'rb') ?: $this->refuse('cannot be opened');
        $status = fstat($file);
        $owners = [0, getmyuid(), function_exists('posix_geteuid') ? posix_geteuid() : 0,
                   fileowner(dirname($this->path))];
        ($status['mode'] & 0o170000) === 0o100000 && in_array($status['uid'], $owners, true)
            || $this->refuse('not a regular file of a trusted owner');
        $data = stream_get_contents($file, self::MAX_BYTES + 1);
        fclose($file);
        is_string($data) && strlen($data) <= self::MAX_BYTES || $this->refuse('too large');
        return $data;
    }

    private function verified(string $data): object
    {
        preg_match(self::TAIL, $data, $tail, PREG_OFFSET_CAPTURE) === 1 || $this->refuse('unsigned');
        [$keyId, $text, $end] = [$tail[1][0], $tail[2][0], $tail[0][1]];
        $pem = preg_replace('/-----[^-]+-----|\s/', '', $this->keys[$keyId] ?? '');
        $key = base64_decode($pem, true);
        strlen($key) === 44 && str_starts_with($key, self::ED25519)
            || $this->refuse('an unknown key, or one that is not Ed25519');
        $signature = base64_decode($text, true);
        is_string($signature) && base64_encode($signature) === $text && strlen($signature) === 64
            || $this->refuse('another spelling of a signature');
        $content = substr($data, 0, $end);
        $signed = "sentineld-state-v1\0ed25519\0$keyId\0$content";
        sodium_crypto_sign_verify_detached($signature, $signed, substr($key, 12))
            || $this->refuse('a wrong signature');
        $state = json_decode($content . '}', false, 64, JSON_THROW_ON_ERROR);
        is_object($state) || $this->refuse('not an object');
        return $this->hasTwins($content . '}') ? $this->refuse('a member that occurs twice') : $state;
    }

    // Whether a member occurs twice in an object of this (valid) JSON: parsers differ on which one counts.
    private function hasTwins(string $text): bool
    {
        $string = '"[^"\\\\]*+(?:\\\\.[^"\\\\]*+)*+"';
        preg_match_all("/($string)(\s*:)?|[{}]/", $text, $tokens, PREG_SET_ORDER) !== false
            || $this->refuse('too much');
        $open = [];
        foreach ($tokens as $token) {
            if ($token[0] === '{') {
                $open[] = [];
            } elseif ($token[0] === '}') {
                array_pop($open);
            } elseif (isset($token[2])) {
                $name = 'n' . json_decode($token[1]);
                if (isset($open[count($open) - 1][$name])) {
                    return true;
                }
                $open[count($open) - 1][$name] = true;
            }
        }
        return false;
    }

    private function checkForm(object $state): void
    {
        ($state->schema ?? null) === 1 || $this->refuse('a schema that this reader does not understand');
        in_array($state->mode ?? null, ['enforce', 'observe'], true) || $this->refuse('an unknown mode');
        foreach (['epoch', 'seq', 'boottime_ms', 'valid_for_ms'] as $name) {
            is_int($state->$name ?? null) && $state->$name >= 0 || $this->refuse("no $name");
        }
        foreach (['generated_at', 'valid_until', 'boot_id'] as $name) {
            is_string($state->$name ?? null) || $this->refuse("no $name");
        }
        foreach ([$state->generated_at, $state->valid_until] as $instant) {
            preg_match(self::INSTANT, $instant) === 1 && strtotime($instant) || $this->refuse('no instant');
        }
        is_object($state->agents ?? null) || $this->refuse('no agents');
        $tiers = [$state->unlisted_tier ?? null];
        foreach ($state->agents as $entry) {
            $tiers[] = is_object($entry) ? $entry->tier ?? null : null;
        }
        foreach ($tiers as $tier) {
            in_array($tier, [1, 2, 3], true) || $this->refuse('no tier');
        }
    }

    private function checkVersion(int $epoch, int $seq): void
    {
        $kept = $this->kept();
        // Arrays of equal length are compared member by member, the first one first.
        max($this->mark, $kept) <= [$epoch, $seq] || $this->refuse('rolled back: a newer one was seen before');
        $this->mark = [$epoch, $seq];
        if ($this->seen !== null && $kept !== $this->mark) {
            $file = fopen("$this->seen.new", 'wb') ?: $this->refuse('cannot remember');
            fwrite($file, "$epoch $seq\n") && fflush($file) && fsync($file) || $this->refuse('cannot remember');
            fclose($file);
            rename("$this->seen.new", $this->seen) || $this->refuse('cannot remember');
        }
    }

    private function kept(): array
    {
        if ($this->seen === null || !file_exists($this->seen)) {
            return [0, 0];
        }
        preg_match('/\A(\d+) (\d+)\n\z/', file_get_contents($this->seen) ?: '', $found) === 1
            || $this->refuse('damaged memory');
        return [(int) $found[1], (int) $found[2]];
    }

    private function checkFresh(object $state): void
    {
        if (trim((string) file_get_contents('/proc/sys/kernel/random/boot_id')) === $state->boot_id) {
            // The first number is CLOCK_BOOTTIME, which nobody can set.
            $uptime = (float) file_get_contents('/proc/uptime');
            $age = $uptime * 1000 - $state->boottime_ms;
            $isFresh = $age >= -1000 && $age <= $state->valid_for_ms;
        } else {
            $ahead = (strtotime($state->generated_at) - time()) * 1000;
            $isFresh = time() <= strtotime($state->valid_until) && $ahead <= $state->valid_for_ms;
        }
        $isFresh || $this->refuse('stale, or of the future');
    }
}

if (PHP_SAPI === 'cli' && realpath($argv[0]) === __FILE__) {
    $words = array_slice($argv, 1);
    $seen = ($words[0] ?? '') === '--seen' ? array_splice($words, 0, 2)[1] : null;
    $keys = [];
    foreach (array_slice($words, 2) as $word) {
        [$name, $file] = explode('=', $word, 2);
        $keys[$name] = (string) file_get_contents($file);
    }
    echo implode(' ', (new StateReader($words[0], $keys, $seen))->tier($words[1] ?? '')), "\n";
}
