import { readFileSync } from 'node:fs';

/**
 * `npm run --silent formula -- https://HOST/PATH/OF/A/RELEASE > sidekey.rb`: prints the Homebrew formula of
 * the executables that `packaging/out/SHA256SUMS` lists.
 */
const base = process.argv[2];
if (base === undefined || !base.startsWith('https://')) {
  console.error('formula: give the address of a release, such as https://HOST/releases/0.1.0');
  process.exit(2);
}
const { version, description } = JSON.parse(readFileSync('package.json', 'utf8'));
const sums = new Map(
  readFileSync('packaging/out/SHA256SUMS', 'utf8')
    .split('\n')
    .map((line) => line.split('  '))
    .map(([sum = '', name = '']) => [name, sum]),
);
const systems = { macos: 'darwin', linux: 'linux' };
const machines = { arm: 'arm64', intel: 'x64' };
const blocks = Object.entries(systems).flatMap(([system, platform]) => {
  const inner = Object.entries(machines).flatMap(([machine, arch]) => {
    const name = `sidekey-${platform}-${arch}`;
    const sum = sums.get(name);
    if (sum === undefined) return [];
    return [`    on_${machine} do`, `      url "${base}/${name}"`, `      sha256 "${sum}"`, '    end'];
  });
  return inner.length === 0 ? [] : [`  on_${system} do`, ...inner, '  end', ''];
});
console.log(`class Sidekey < Formula
  desc "${description.replace(/^A /, '').replace(/^./, (letter: string) => letter.toUpperCase())}"
  homepage "${new URL(base).origin}"
  version "${version}"
  license "Apache-2.0"

${blocks.join('\n')}
  def install
    bin.install Dir["sidekey-*"].first => "sidekey"
    generate_completions_from_executable(bin/"sidekey", "completion")
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/sidekey --version")
    assert_match "deny", shell_output("SIDEKEY_HOME=#{testpath} SIDEKEY_UNMATCHED=deny #{bin}/sidekey config check")
  end
end`);
