// After `npm ci`, fetches viewers whose packages contain complete bundles into node_modules, without their hundreds of
// dependencies.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';

// version and integrity hash of npm's registry
const bundles = {
  '@samvera/clover-iiif': [
    '3.3.8',
    'sha512-l28GoZK7qD402LXW/JpZy9FX33hgX0JFNRpcdR6DJhwus6m4WRT9SOPdMSwTDW+w33hWbIyRM2wWcJ4D141JlA==',
  ],
  mirador: [
    '4.0.0',
    'sha512-uWsE9e2oqSc/lUu+vVwDGhTsycuhGsfZ2KfX6CLfXiT3wgGy6qT9+q5M3V9Zz72hkdIgsJugKesaowmRtYmvrA==',
  ],
  universalviewer: [
    '4.4.0',
    'sha512-9OVs6uCzeQYw50jg8k2vEGq6hQFu7kEv9OOAlmqVH9duhrpg1xlIqcMIb2rhNQnAxTQd3R13gxJze9UYkiwdzg==',
  ],
};

for (const [name, [version, integrity]] of Object.entries(bundles)) {
  const [packed] = JSON.parse(execFileSync('npm', ['pack', '--json', '--silent', `${name}@${version}`], { encoding: 'utf8' }));
  if (packed.integrity !== integrity) throw new Error(`${name}@${version} is ${packed.integrity}, not ${integrity}`);
  const folder = `node_modules/${name}`, file = packed.filename;
  mkdirSync(folder, { recursive: true });
  execFileSync('tar', ['-xzf', file, '-C', folder, '--strip-components=1']);
  rmSync(file);
}
