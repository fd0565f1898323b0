<?php
// The curl extension reads the proxy from the environment itself.
$curl = curl_init($argv[1]);
curl_setopt($curl, CURLOPT_RETURNTRANSFER, true);
$answer = curl_exec($curl);
if ($answer === false) { fwrite(STDERR, curl_error($curl) . "\n"); exit(1); }
echo $answer, "\n";
