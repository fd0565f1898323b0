use strict;
use warnings;
use Mojo::UserAgent;

print Mojo::UserAgent->new->get($ARGV[0])->result->body;
